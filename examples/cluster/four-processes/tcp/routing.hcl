# The hub for clients, and the one that the others know.
#
#     essad --config examples/cluster/four-processes/tcp/routing.hcl
#     essad --address tcp/127.0.0.1:7447 ping

node {
  name        = "routing"
  data_dir    = "routing/data"
  runtime_dir = "routing/run"
}

fabric {
  listen = ["tcp/127.0.0.1:7447"]
}

routing {}
