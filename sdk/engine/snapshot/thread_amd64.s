#include "textflag.h"

// func threadPointer() uintptr
TEXT ·threadPointer(SB), NOSPLIT, $0-8
	RDFSBASEQ AX
	MOVQ AX, ret+0(FP)
	RET
