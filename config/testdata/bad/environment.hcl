# Mistakes in the environment and in flags are shown with the variable or flag.
# env ESSA_KVS__MEMROY=1GiB
# env ESSA_KVS__SHARDS=many
# env ESSA_NODE=me
# env ESSA_EXECUTOR=perhaps
# env ESSA_KVS__MEMORY__MORE=1
# env ESSA_KVS__MEMORY=1GiB
# set kvs.durability=always
# set nothing.at.all=1
# set engine.wazero=/bin/true
kvs {}
