package scheduler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/essa-project/essad/sdk/client"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
)

// storeModule stores a module that came in one piece.
func (r *Role) storeModule(ctx context.Context, sha string, wasm []byte) error {
	if int64(len(wasm)) > r.opts.MaxModule {
		return tooLarge(int64(len(wasm)), r.opts.MaxModule)
	}
	has, err := client.HasModule(ctx, r.kvs, sha)
	if err != nil || has {
		return err
	}
	for i := 0; i*client.ChunkBytes < len(wasm); i++ {
		chunk := wasm[i*client.ChunkBytes : min((i+1)*client.ChunkBytes, len(wasm))]
		if err := client.PutModuleChunk(ctx, r.kvs, sha, i, chunk); err != nil {
			return err
		}
	}
	return r.commitModule(ctx, sha, int64(len(wasm)))
}

func tooLarge(size, limit int64) error {
	return status.LimitError("module", "module of %d bytes exceeds the limit of %d (scheduler.max_module)", size, limit)
}

func (r *Role) putChunk(ctx context.Context, req *essav1.ModulePutRequest) error {
	switch {
	case !isSHA(req.Sha256):
		return checkSHA(req.Sha256)
	case req.Commit:
		return r.commitModule(ctx, req.Sha256, req.Size)
	case len(req.Data) == 0 || len(req.Data) > client.ChunkBytes || req.Index < 0:
		return status.Errorf(status.Invalid, "chunk %d of %d bytes: want 1 to %d bytes", req.Index, len(req.Data), client.ChunkBytes)
	case int64(req.Index) >= (r.opts.MaxModule+client.ChunkBytes-1)/client.ChunkBytes:
		return tooLarge((int64(req.Index)+1)*client.ChunkBytes, r.opts.MaxModule)
	}
	// What exists has been checked against its name: nobody may change it under those who use it.
	has, err := client.HasModule(ctx, r.kvs, req.Sha256)
	if err != nil || has {
		return err
	}
	if req.Index == 0 {
		// From the first chunk on it is listed, so that one whose upload was given up can be collected.
		if err := client.ListModule(ctx, r.kvs, &essav1.ModuleManifest{Sha256: req.Sha256, CreatedUnixNano: time.Now().UnixNano()}); err != nil {
			return err
		}
	}
	return client.PutModuleChunk(ctx, r.kvs, req.Sha256, int(req.Index), req.Data)
}

// commitModule reads the chunks back, checks them against the name and writes the module's manifest, which makes it exist.
func (r *Role) commitModule(ctx context.Context, sha string, size int64) error {
	switch {
	case size <= 0:
		return status.Errorf(status.Invalid, "the module is empty: this is not WebAssembly")
	case size > r.opts.MaxModule:
		return tooLarge(size, r.opts.MaxModule)
	}
	if has, err := client.HasModule(ctx, r.kvs, sha); err != nil || has {
		return err
	}
	m := &essav1.ModuleManifest{
		Sha256: sha, Size: size, Chunks: int32((size + client.ChunkBytes - 1) / client.ChunkBytes), CreatedUnixNano: time.Now().UnixNano(),
	}
	h := sha256.New()
	n, err := io.Copy(h, client.ReadChunks(ctx, r.kvs, m))
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sha || n != size {
		return status.Errorf(status.Corrupt, "uploaded module has %d bytes with SHA-256 %.12s, not %d bytes with %.12s: upload it again", n, got, size, sha)
	}
	return client.PutModuleManifest(ctx, r.kvs, m)
}

func isSHA(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && hex.EncodeToString(b) == s
}

// listModules lists the stored modules with the versions that use them. One of size 0 is not whole: its upload is under
// way or was given up.
func (r *Role) listModules(ctx context.Context) ([]*essav1.Module, error) {
	users, err := r.moduleUsers(ctx)
	if err != nil {
		return nil, err
	}
	var out []*essav1.Module
	err = client.EachModule(ctx, r.kvs, func(m *essav1.ModuleManifest) error {
		out = append(out, &essav1.Module{
			Sha256: m.Sha256, Size: m.Size, CreatedUnixNano: m.CreatedUnixNano, Deployments: users[m.Sha256],
		})
		return nil
	})
	return out, err
}

// moduleUsers tells for each module which versions name it: every version in the history of a name that is deployed, for a
// rollback may need it. Undeploying a name is what frees its modules.
func (r *Role) moduleUsers(ctx context.Context) (map[string][]string, error) {
	pointers, err := r.reg.names(ctx)
	if err != nil {
		return nil, err
	}
	users := map[string][]string{}
	for name, p := range pointers {
		if p.Deleted {
			continue
		}
		for _, v := range p.History {
			m, err := r.reg.manifest(ctx, name, v)
			if err != nil {
				return nil, err
			}
			users[m.Module] = append(users[m.Module], name+"@"+v)
		}
	}
	for _, u := range users {
		slices.Sort(u)
	}
	return users, nil
}

// collect removes modules that nothing names, and which are old enough that no run is about to use them.
//
// A deployment may begin to name one at the same time. So the manifests go first, which makes the modules vanish; then it
// looks again who is named, and gives back what is. A deployment that has looked for its module before that is seen here,
// one that looks after that sees that the module is gone and says so.
func (r *Role) collect(ctx context.Context, req *essav1.GCRequest) (*essav1.GCReply, error) {
	all, err := r.listModules(ctx)
	if err != nil {
		return nil, err
	}
	running := map[string]bool{}
	for _, p := range r.processes() {
		running[p.Module] = true
	}
	limit := time.Now().Add(-time.Duration(max(req.OlderThanNano, 0))).UnixNano()
	var idle []*essav1.Module
	for _, m := range all {
		if len(m.Deployments) == 0 && !running[m.Sha256] && m.CreatedUnixNano <= limit {
			idle = append(idle, m)
		}
	}
	if !req.DryRun {
		if idle, err = r.remove(ctx, idle); err != nil {
			return nil, err
		}
	}
	out := &essav1.GCReply{Removed: idle}
	for _, m := range idle {
		out.Bytes += m.Size
	}
	return out, nil
}

// remove removes modules but for those that are named by now, and returns what it removed.
func (r *Role) remove(ctx context.Context, idle []*essav1.Module) (removed []*essav1.Module, err error) {
	manifests := make([]*essav1.ModuleManifest, len(idle))
	for i, m := range idle {
		if manifests[i], err = client.HideModule(ctx, r.kvs, m.Sha256); err != nil {
			return nil, err
		}
	}
	users, err := r.moduleUsers(ctx)
	if err != nil {
		for _, m := range manifests {
			if m != nil {
				err = errors.Join(err, client.PutModuleManifest(ctx, r.kvs, m))
			}
		}
		return nil, err
	}
	for i, m := range idle {
		switch {
		case len(users[m.Sha256]) == 0:
			if err := client.DeleteModule(ctx, r.kvs, m.Sha256); err != nil {
				return removed, err
			}
			removed = append(removed, m)
		case manifests[i] != nil:
			if err := client.PutModuleManifest(ctx, r.kvs, manifests[i]); err != nil {
				return removed, err
			}
		}
	}
	return removed, nil
}
