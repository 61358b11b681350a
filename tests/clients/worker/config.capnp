using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "shim-v1", worker = .shimV1),
    (name = "shim-v2", worker = .shimV2),
    (name = "omnivec", external = (address = "127.0.0.1:1", http = ())),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);

const main :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "worker.js")],
  compatibilityDate = "2026-04-01",
  bindings = [
    (name = "INDEX", wrapped = (
      moduleName = "cloudflare-internal:vectorize-api",
      innerBindings = [
        (name = "fetcher", service = "shim-v2"),
        (name = "indexId", text = "worker"),
        (name = "indexVersion", text = "v2"),
        (name = "useNdJson", json = "true"),
      ],
    )),
    (name = "LEGACY", wrapped = (
      moduleName = "cloudflare-internal:vectorize-api",
      innerBindings = [
        (name = "fetcher", service = "shim-v1"),
        (name = "indexId", text = "worker"),
        (name = "indexVersion", text = "v1"),
        (name = "useNdJson", json = "false"),
      ],
    )),
  ],
);

const shimV2 :Workerd.Worker = (
  modules = [(name = "shim", esModule = embed "shim.js")],
  compatibilityDate = "2026-04-01",
  bindings = [
    (name = "OMNIVEC", service = "omnivec"),
    (name = "BASE", text = "/binding/v2/worker"),
    (name = "KEY", fromEnvironment = "OMNIVEC_KEY"),
  ],
);

const shimV1 :Workerd.Worker = (
  modules = [(name = "shim", esModule = embed "shim.js")],
  compatibilityDate = "2026-04-01",
  bindings = [
    (name = "OMNIVEC", service = "omnivec"),
    (name = "BASE", text = "/binding/v1"),
    (name = "KEY", fromEnvironment = "OMNIVEC_KEY"),
  ],
);
