# Several engines, of one plugin and of two, in processes of their own.
# env ESSA_ENGINE__WASMTIME__SHARDS=2
# set engine.spare.shards=3
executor {
  quarantine {
    strikes = 3
    for     = "1h"
  }
}

engine "wasmtime" {}

engine "spare" {
  plugin   = "wazero"
  settings = { compiling = 2 }
}

engine "wazero" {
  shards = 4
}
