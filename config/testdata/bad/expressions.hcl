# Values are plain: nothing to refer to, nothing to call.
kvs {
  memory      = var.memory
  max_key     = upper("4kib")
  max_value   = 1 == 1 ? "1MiB" : "2MiB"
  shards      = 8 / 0
  cache_lease = "${seconds}s"
  durability  = "a" + 1
}

executor {
  engines = [for e in ["wazero"] : e]
}
