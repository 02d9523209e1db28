# Takes calls and runs, and places them.
#
#     essad --config examples/cluster/four-processes/tls/scheduler.hcl

node {
  name        = "scheduler"
  data_dir    = "scheduler/data"
  runtime_dir = "scheduler/run"
}

fabric {
  listen  = ["tls/127.0.0.1:0"] # a free port, which the others hear of
  connect = ["tls/127.0.0.1:7447"]

  tls {
    certificate = "certificates/scheduler.pem" # examples/cluster/certificates.sh makes them
    key         = "certificates/scheduler.key"
    ca          = "certificates/ca.pem"
  }
}

scheduler {}
