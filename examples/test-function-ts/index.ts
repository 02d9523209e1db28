// The demo module of upstream essa-rs in TypeScript: the same functions under the same names, the same steps, the same
// lines as examples/test-function. It runs functions remotely, shares a set among them, and splits a range recursively.
//
//     make bin/guests/test-function-ts.wasm && essad run bin/guests/test-function-ts.wasm

import { Future, Result, SetValue, Unit, addToSet, err, getWait, ok, unit } from "essa";

// toUppercase converts the ASCII letters of val to upper case.
@essa({ name: "toUppercaseExtern" })
function toUppercase(val: string): string {
  let upper = "";
  for (let i = 0; i < val.length; i++) {
    const c = val.charCodeAt(i);
    upper += String.fromCharCode(c >= 97 && c <= 122 ? c - 32 : c);
  }
  return upper;
}

// foo adds " fooo" to val. Its stub has a name that is nothing like its own, to show that it may.
@essa({ name: "appendFoo" })
function foo(val: string): string {
  return val + " fooo";
}

// repeatString repeats text count times.
@essa({ name: "repeatStringExtern" })
function repeatString(text: string, count: usize): string {
  return text.repeat(<i32>count);
}

// concurrentKVSTest splits the range in half until one number is left, and adds that one to the set under key. Each half
// is a call of its own, so a range of n numbers makes 2n-1 calls, and the set holds the whole range when the first of
// them returns.
@essa({ name: "concurrentKVSTestExtern" })
function concurrentKVSTest(key: string, rangeStart: usize, rangeEnd: usize): Result<Unit, string> {
  if (rangeEnd <= rangeStart) return err<Unit>("the range is empty");
  if (rangeEnd - rangeStart == 1) {
    addToSet(key, [rangeStart.toString()]);
    return ok(unit);
  }
  const mid = rangeStart + (rangeEnd - rangeStart) / 2;
  const left = concurrentKVSTestExtern(key, rangeStart, mid);
  const right = concurrentKVSTestExtern(key, mid, rangeEnd);
  const first = left.get(), second = right.get();
  return first.isErr ? first : second;
}

// What essad run runs.
export function main(): void {
  console.log("Hello world from test function!");
  let text = wait(toUppercaseExtern("foobar"));
  console.log("Function result: " + text);

  console.log("Storing a set in the kvs");
  const key = "some-test-key";
  addToSet(key, ["one", "two", "three"]);
  text = wait(appendFoo(text));
  console.log("Function result: " + text);
  printSet(key);

  console.log("Appending to the set in the kvs");
  addToSet(key, ["four", "two", "three"]);
  text = wait(repeatStringExtern(text, 15000));
  console.log("Function result: " + text.length.toString());
  printSet(key);
  splitRange("concurrent-kvs_test-key", 48, 113);
  console.log("DONE");
}

function wait(result: Future<string>): string {
  console.log("Waiting for result...");
  return result.get();
}

function printSet(key: string): void {
  console.log("Reading the set from the kvs");
  console.log('Result: {"' + elements(key).join('", "') + '"}');
}

// elements waits for the set under key, as upstream's demo does.
function elements(key: string): string[] {
  return (getWait(key) as SetValue).texts;
}

// splitRange runs the recursive function and checks that the set holds the whole range and nothing else.
function splitRange(key: string, start: usize, end: usize): void {
  console.log("Running concurrent KVS test");
  const result = concurrentKVSTestExtern(key, start, end).get();
  if (result.isErr) throw new Error(result.error);
  console.log("Reading the concurrent KVS test result set from the kvs");
  const found = elements(key);
  for (let n = start; n < end; n++) {
    if (!found.includes(n.toString())) throw new Error(n.toString() + " is missing from the result");
  }
  if (found.length != <i32>(end - start)) throw new Error("the result holds more than the range");
}
