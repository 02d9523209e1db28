# The hub for clients, and the one that the others know.
#
#     essad --config examples/cluster/four-processes/unix/routing.hcl
#     essad --address examples/cluster/four-processes/unix/routing/run/essad.sock status

node {
  name        = "routing"
  data_dir    = "routing/data"
  runtime_dir = "routing/run"
}

fabric {
  listen = ["unixsock-stream//run/essad/mesh-routing.sock"]
}

routing {}
