# Runs functions. Start as many as you like, each with a name and folders of its own.
#
#     essad --config examples/cluster/four-processes/tls/executor.hcl

node {
  name        = "executor"
  data_dir    = "executor/data"
  runtime_dir = "executor/run"
}

fabric {
  listen  = ["tls/127.0.0.1:0"] # a free port, which the others hear of
  connect = ["tls/127.0.0.1:7447"]

  tls {
    certificate = "certificates/executor.pem" # examples/cluster/certificates.sh makes them
    key         = "certificates/executor.key"
    ca          = "certificates/ca.pem"
  }
}

executor {}

engine "wazero" {}
