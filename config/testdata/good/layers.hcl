# Environment over file, flags over environment; roles turned on and off from outside.
# env ESSA_KVS__MEMORY=1GiB
# env ESSA_KVS__SHARDS=4
# env ESSA_ROUTING=on
# env ESSA_SCHEDULER=off
# env ESSA_EXECUTOR__ENGINES=a, b
# env ESSA_ENGINE__A__ENV__MixedCase=Kept
# env ESSA_ENGINE__B__SETTINGS__Depth=3
# env OTHER_THING=1
# env ESSA_ADDRESS=ignored
# set kvs.shards=8
kvs {
  memory  = "64MiB"
  shards  = 2
  max_key = "1KiB"
}
scheduler {}
engine "a" {}
engine "b" {}
