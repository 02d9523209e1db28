# A daemon with all roles: what `essad config default` prints.
#
# Every key and its default: `essad config print` (with this file: `essad config print --config FILE`).

version = 1

node {
  data_dir    = "/var/lib/essad"
  runtime_dir = "/run/essad"
}

routing {}

kvs {
  store = "pebble"
}

scheduler {}

executor {}

engine "wazero" {}

store "pebble" {}
