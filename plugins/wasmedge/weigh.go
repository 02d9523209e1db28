//go:build wasmedge

package main

// WasmEdge copies every function's decoded code into each instance: a Go guest of 4 MB weighs 40 MB beside its memory. An
// engine that did not count that would take many times the memory it is given.
const (
	instructionBytes = 32  // of a decoded instruction
	labelBytes       = 16  // of a target of br_table
	functionBytes    = 192 // of a function beside its code, with room for an instruction that is not there
	executorBytes    = 16 << 10
)

// weigh returns the bytes that an instance of an admitted module takes beside its memory and tables. The module is valid;
// where it is not, weigh stops early.
func weigh(wasm []byte) int64 {
	r := cursor{b: wasm, pos: 8}
	total := int64(executorBytes)
	for r.pos < len(r.b) {
		id := r.byte()
		end := r.end()
		switch id {
		case 10:
			code := cursor{b: r.b[:end], pos: r.pos}
			total += code.functions()
		case 11: // data that the runtime could not take out
			total += int64(end - r.pos)
		}
		r.pos = end
	}
	return total
}

// cursor reads a module. Beyond its end everything is zero.
type cursor struct {
	b   []byte
	pos int
}

func (c *cursor) byte() byte {
	c.pos++
	if c.pos > len(c.b) {
		return 0
	}
	return c.b[c.pos-1]
}

// leb reads an unsigned number of up to 64 bits, or skips a signed one.
func (c *cursor) leb() (v uint64) {
	for shift := 0; ; shift += 7 {
		b := c.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
}

// end reads a length and returns where what has it ends.
func (c *cursor) end() int {
	n := c.leb()
	return c.pos + int(min(n, uint64(max(len(c.b)-c.pos, 0))))
}

func (c *cursor) lebs(n uint64) {
	for ; n > 0 && c.pos < len(c.b); n-- {
		c.leb()
	}
}

// functions weighs the code section, whose contents begin here.
func (c *cursor) functions() (total int64) {
	for n := c.leb(); n > 0 && c.pos < len(c.b); n-- {
		end := c.end()
		body := cursor{b: c.b[:end], pos: c.pos}
		for groups := body.leb(); groups > 0 && body.pos < end; groups-- {
			body.leb()
			body.byte()
		}
		total += functionBytes
		for body.pos < end {
			total += instructionBytes + body.instruction()
		}
		c.pos = end
	}
	return total
}

// instruction skips an instruction and returns what it weighs beyond the usual.
func (c *cursor) instruction() int64 {
	switch op := c.byte(); {
	case op == 0x0e: // br_table
		n := min(c.leb()+1, uint64(len(c.b)))
		c.lebs(n)
		return int64(n) * labelBytes
	case op == 0x1c: // select with types
		c.pos += int(min(c.leb(), uint64(len(c.b))))
	case op >= 0x02 && op <= 0x04, op == 0x0c, op == 0x0d, op == 0x10, op >= 0x20 && op <= 0x26, op >= 0x3f && op <= 0x42,
		op == 0xd0, op == 0xd2:
		c.leb()
	case op == 0x11, op >= 0x28 && op <= 0x3e:
		c.lebs(2)
	case op == 0x43:
		c.pos += 4
	case op == 0x44:
		c.pos += 8
	case op == 0xfc:
		c.bulk()
	case op == 0xfd:
		c.vector()
	}
	return 0
}

func (c *cursor) bulk() {
	switch c.leb() {
	case 8, 10, 12, 14:
		c.lebs(2)
	case 9, 11, 13, 15, 16, 17:
		c.leb()
	}
}

func (c *cursor) vector() {
	switch op := c.leb(); {
	case op <= 11, op == 92, op == 93:
		c.lebs(2)
	case op == 12, op == 13:
		c.pos += 16
	case op >= 21 && op <= 34:
		c.pos++
	case op >= 84 && op <= 91:
		c.lebs(2)
		c.pos++
	}
}
