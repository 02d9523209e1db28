export { Reader, Writer } from "./bincode";
export { Code, EssaError } from "./errors";
export { Option, Result, Unit, err, ok, unit } from "./types";
export { Counter, CounterEntry, LWW, MapValue, MultiCausal, OrderedSet, Priority, SetValue, SingleCausal, Tag, Value } from "./lattice";
export { Timestamp, now } from "./timestamp";
export { Future, Handle, call, waitAll } from "./call";
export { addToSet, get, getEncoded, getWait, put, putBytes, putString, setOf, tryGet, tryGetWait, tryPut } from "./kvs";
export { eprint, exit, print } from "./io";
export { checkArgs, reply, replyUnit, serve } from "./serve";
