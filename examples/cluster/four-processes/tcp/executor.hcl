# Runs functions. Start as many as you like, each with a name and folders of its own.
#
#     essad --config examples/cluster/four-processes/tcp/executor.hcl

node {
  name        = "executor"
  data_dir    = "executor/data"
  runtime_dir = "executor/run"
}

fabric {
  listen  = ["tcp/127.0.0.1:0"] # a free port, which the others hear of
  connect = ["tcp/127.0.0.1:7447"]
}

executor {}

engine "wazero" {}
