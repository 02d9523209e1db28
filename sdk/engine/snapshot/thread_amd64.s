#include "textflag.h"

// func threadPointer() uintptr
TEXT ·threadPointer(SB), NOSPLIT, $0-8
	RDFSBASEQ AX
	MOVQ AX, ret+0(FP)
	RET

// func setMark()
TEXT ·setMark(SB), NOSPLIT, $0-0
	MOVL $1, AX
	MOVW AX, ES
	RET

// func marked() bool
TEXT ·marked(SB), NOSPLIT, $0-1
	MOVW ES, AX
	CMPW AX, $1
	SETEQ ret+0(FP)
	RET
