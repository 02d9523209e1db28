;; Needs 100 MiB to begin with.
(module (func (export "f") (param i32)) (memory (export "memory") 1600))
