# Runs functions. Start as many as you like, each with a name and folders of its own.
#
#     essad --config examples/cluster/four-processes/unix/executor.hcl

node {
  name        = "executor"
  data_dir    = "executor/data"
  runtime_dir = "executor/run"
}

fabric {
  listen  = ["unixsock-stream//run/essad/mesh-executor.sock"]
  connect = ["unixsock-stream//run/essad/mesh-routing.sock"]
}

executor {}

engine "wazero" {}
