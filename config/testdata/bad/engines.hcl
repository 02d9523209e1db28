# Engines: shards, quarantine, and where the plugin is.
executor {
  engines = ["wazero", "wasmtme"]

  quarantine {
    strikes = -1
    for     = "10"
    entries = 0
    strike  = 3
  }
}

engine "wazero" {
  shards = 8
}

engine "wasmtime" {
  plugin = "wasmtime"
  path   = "/usr/lib/wasmtime"
  shards = 65
}

engine "spare" {
  plugin = "No Name"
  shard  = 2
}
