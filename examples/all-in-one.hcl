# One daemon with all roles, its data beside this file.
#
#     essad --config examples/all-in-one.hcl
#     ESSA_ADDRESS=examples/all-in-one/run/essad.sock essad status

node {
  name        = "all-in-one"
  data_dir    = "all-in-one/data"
  runtime_dir = "all-in-one/run"
}

routing {}

kvs {
  store = "pebble" # acknowledged writes are on disk
}

scheduler {
  call {
    timeout = "30s"
  }
}

executor {
  engines = ["wazero"]

  limits {
    memory = "256MiB"
  }
}

engine "wazero" {}

store "pebble" {}
