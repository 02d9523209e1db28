// Package snapshot keeps the memory of an initialised instance, and sets instances back to it in about a microsecond.
//
// An Image is that memory in a file: an anonymous one, or one that outlives the process. Map lays it over an instance's
// memory, privately: pages are shared until they are written, and a written page is a copy that only this mapping has. So
// the kernel knows what a call has changed, and Restore asks it (PAGEMAP_SCAN, since Linux 6.7; before, it reads
// /proc/self/pagemap) and copies those pages from the image. They stay private, so the next call that writes them takes no
// page fault; a madvise that gave them back would cost one each, and interrupt every thread of the process.
//
// Even that costs a few microseconds, as long as a short call takes. A page cannot become private without a page fault, and
// Linux counts those per thread: who held the guest to one thread, and finds that this took none, need not ask (Restore's
// quiet). That is the case for nearly all calls of a warm instance. Where the processor allows, a Watch finds it without a
// system call.
//
// It promises that after Restore the memory is the image's, byte for byte, or that it returned an error, and that a file
// that is damaged, cut off or of another form is never mapped. Files are never changed once they have their name: who
// truncates one that is mapped kills the process.
//
// Why not userfaultfd or soft-dirty bits? They need a write fault per page and call, which is what is avoided here.
//
// It is for Linux. It may import the standard library and x/sys; package runtime imports it.
package snapshot
