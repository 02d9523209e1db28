# The key-value store.
#
#     essad --config examples/cluster/four-processes/tcp/kvs.hcl

node {
  name        = "kvs"
  data_dir    = "kvs/data"
  runtime_dir = "kvs/run"
}

fabric {
  listen  = ["tcp/127.0.0.1:0"] # a free port, which the others hear of
  connect = ["tcp/127.0.0.1:7447"]
}

kvs {
  store = "pebble" # acknowledged writes are on disk
}

store "pebble" {}
