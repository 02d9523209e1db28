# Values that are right alone and wrong together.
node {
  data_dir         = "/run/essad/data"
  shutdown_timeout = "10s"
  socket           = "/run/a-folder-with-a-very-long-name/and-another-one-inside-it/and-one-more-for-good-measure/and-then-the-essad.sock"
}

kvs {
  store        = "peble"
  memory       = "1MiB"
  write_buffer = "2MiB"
}

scheduler {
  call {
    timeout = "10m"
  }
}

executor {
  engines = ["wasmtime", "wazero", "wazero"]
  memory  = "128MiB"
}

engine "wazero" {}
store "pebble" {}
