package missing

import "example.org/not/there"

//essa:function
func F(a there.T) {}
