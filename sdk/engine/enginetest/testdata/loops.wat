;; Loops before anything can be called.
(module
  (func $loop (loop (br 0)))
  (func (export "f") (param i32))
  (start $loop)
  (memory (export "memory") 1))
