# Takes calls and runs, and places them.
#
#     essad --config examples/cluster/four-processes/tcp/scheduler.hcl

node {
  name        = "scheduler"
  data_dir    = "scheduler/data"
  runtime_dir = "scheduler/run"
}

fabric {
  listen  = ["tcp/127.0.0.1:0"] # a free port, which the others hear of
  connect = ["tcp/127.0.0.1:7447"]
}

scheduler {}
