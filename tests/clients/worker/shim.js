// What stands before a binding: it puts the index into the path, and the key into a header.
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    const sent = new Request(`http://localhost${env.BASE}${pathname}`, request);
    sent.headers.set('Authorization', `Bearer ${env.KEY}`);
    return env.OMNIVEC.fetch(sent);
  },
};
