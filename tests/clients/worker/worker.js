// Calls what it is told to on a binding.
const revive = (_, value) => (value?.float32 ? new Float32Array(value.float32) : value);

export default {
  async fetch(request, env) {
    const { binding, call, args } = JSON.parse(await request.text(), revive);
    try {
      return Response.json({ result: await env[binding][call](...args) });
    } catch (error) {
      return Response.json({ error: error.message });
    }
  },
};
