# The only store is the one that is meant, and with it writes are on disk before they are acknowledged.
kvs {}
store "pebble" {}
