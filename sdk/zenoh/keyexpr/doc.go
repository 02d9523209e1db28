// Package keyexpr is the algebra of Zenoh's key expressions: which are valid, which intersect, which include which, and an
// index that finds the ones that do among many.
//
// A key expression is text: chunks separated by "/", none of them empty. The chunk "*" stands for any one chunk and "**" for
// any number of them, also none; "$*" inside a chunk stands for any characters, also none. None of the three matches a chunk
// that begins with "@": such a chunk is matched by itself alone. Everything else matches itself.
//
// Two expressions that mean the same have the same canonical form, and only that is valid: Canon makes it, Valid demands it,
// and all else expects it. The rules are those of the Rust implementation, down to the byte.
//
// Expressions come from strangers. All that is here takes time that is bounded by the product of the lengths of two
// expressions, which Valid bounds; matching an expression without wildcards allocates nothing.
//
// Anybody may import it; it imports the standard library alone.
package keyexpr
