# Takes calls and runs, and places them.
#
#     essad --config examples/cluster/four-processes/unix/scheduler.hcl

node {
  name        = "scheduler"
  data_dir    = "scheduler/data"
  runtime_dir = "scheduler/run"
}

fabric {
  listen  = ["unixsock-stream//run/essad/mesh-scheduler.sock"]
  connect = ["unixsock-stream//run/essad/mesh-routing.sock"]
}

scheduler {}
