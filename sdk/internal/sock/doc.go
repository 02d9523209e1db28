// Package sock reads and writes stream sockets with fewer detours through the scheduler of the runtime and the kernel's than
// the standard library, for connections that carry many small messages between few processes. It does two things.
//
// Read and Write do not tell the scheduler of their system call. Around each ordinary one the runtime lets go of its
// processor, so that its monitor can give it to another thread where the call takes long, and a write to a socket often
// does: the kernel hands the core to whoever was waiting for the bytes. The thread comes back to find its processor gone,
// wakes the monitor and competes for another one. A call on a descriptor that never blocks has no need of that: the goroutine
// keeps its processor, as it would while it copies as many bytes. A descriptor that does block must not come here.
//
// The runtime's monitor, which is not woken either, is now and then on purpose: see alarm.
//
// A Unix is a unix socket that is polled for what somebody waits for, and for nothing else. The runtime polls every descriptor for
// reading and writing, and on a unix socket there is room to write each time that the peer has read, so each message woke a
// thread of its sender for nothing, and an idle processor for it.
//
// Together they took away two of three switches of threads of a call between three processes.
//
// It imports the standard library only; sdk/frame and sdk/zenoh/internal/link may import it.
package sock
