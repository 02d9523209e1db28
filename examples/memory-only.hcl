# Nothing is kept: for tests, and for functions that only compute. What is in the KVS is gone when the daemon stops.

node {
  runtime_dir = "memory-only/run"
  data_dir    = "memory-only/data" # caches of compiled code
}

routing {}

kvs {
  store  = ""
  memory = "512MiB"
}

scheduler {}

executor {}

engine "wazero" {}
