package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/essa-project/essad/sdk/lattice"
	essav1 "github.com/essa-project/essad/sdk/proto/essa/v1"
	"github.com/essa-project/essad/sdk/status"
)

// ChunkBytes is the size of a module's stored chunks; only the last one is smaller.
const ChunkBytes = 1 << 20

// ModuleDigest returns the name of a module, the SHA-256 of its bytes in hexadecimal, and its size.
func ModuleDigest(r io.Reader) (sha string, size int64, err error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), n, err
}

// Upload stores a module in the cluster unless it is there, and returns its name. r is read twice. progress, if not nil,
// is told of bytes sent; it is not called where nothing needs to be sent.
func (c *Client) Upload(ctx context.Context, r io.ReadSeeker, progress func(sent, size int64)) (string, error) {
	sha, size, err := ModuleDigest(r)
	if err != nil {
		return "", status.Errorf(status.Invalid, "read the module: %w", err)
	}
	var has essav1.ModuleHasReply
	if err := c.admin(ctx, "module-has", &essav1.ModuleHasRequest{Sha256: sha}, &has); err != nil {
		return "", err
	}
	if has.Found {
		return sha, nil
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return "", status.Errorf(status.Invalid, "read the module: %w", err)
	}
	buf := make([]byte, ChunkBytes)
	for i := int64(0); i*ChunkBytes < size; i++ {
		n, err := io.ReadFull(r, buf)
		if err != nil && err != io.ErrUnexpectedEOF {
			return "", status.Errorf(status.Invalid, "read the module: %w", err)
		}
		chunk := append([]byte(nil), buf[:n]...)
		if err := c.admin(ctx, "module-put", &essav1.ModulePutRequest{Sha256: sha, Index: int32(i), Data: chunk}, nil); err != nil {
			return "", err
		}
		if progress != nil {
			progress(i*ChunkBytes+int64(n), size)
		}
	}
	return sha, c.admin(ctx, "module-put", &essav1.ModulePutRequest{Sha256: sha, Commit: true, Size: size}, nil)
}

// A module is stored in the module space, scope its name: one key per chunk and a manifest, written last. A module without
// a manifest does not exist. A second scope lists the names, so that modules can be found.

const (
	manifestKey = "manifest"
	moduleIndex = "index"
)

func chunkKey(i int) []byte { return fmt.Appendf(nil, "chunk/%06d", i) }

// PlainData returns the data of an encoded last-writer-wins value, such as Set puts.
func PlainData(encoded []byte) ([]byte, error) {
	v, err := lattice.Decode(encoded)
	if err != nil {
		return nil, status.Errorf(status.Corrupt, "client: stored value: %w", err)
	}
	l, ok := v.(lattice.LWW)
	if !ok {
		return nil, status.Errorf(status.Corrupt, "client: stored value is a %v, not a %v", v.Tag(), lattice.TagLWW)
	}
	return l.Data, nil
}

// HasModule tells whether a module is stored.
func HasModule(ctx context.Context, k *KVS, sha string) (bool, error) {
	_, err := loadManifest(ctx, k, sha)
	if status.Of(err) == status.NotFound {
		return false, nil
	}
	return err == nil, err
}

func loadManifest(ctx context.Context, k *KVS, sha string) (*essav1.ModuleManifest, error) {
	raw, _, err := k.Data(ctx, ModuleSpace, sha, []byte(manifestKey))
	if status.Of(err) == status.NotFound {
		return nil, status.Errorf(status.NotFound, "module %.12s is not stored: upload it again", sha)
	}
	if err != nil {
		return nil, err
	}
	m := &essav1.ModuleManifest{}
	if err := proto.Unmarshal(raw, m); err != nil || m.Sha256 != sha {
		return nil, status.Errorf(status.Corrupt, "manifest of module %.12s cannot be read", sha)
	}
	return m, nil
}

// ModuleSize returns the size of a stored module.
func ModuleSize(ctx context.Context, k *KVS, sha string) (int64, error) {
	m, err := loadManifest(ctx, k, sha)
	return m.GetSize(), err
}

// OpenModule returns a reader of a stored module, which fetches it chunk by chunk.
func OpenModule(ctx context.Context, k *KVS, sha string) (io.ReadCloser, error) {
	m, err := loadManifest(ctx, k, sha)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(ReadChunks(ctx, k, m)), nil
}

// ReadChunks reads the chunks that a manifest names, whether or not it is stored.
func ReadChunks(ctx context.Context, k *KVS, m *essav1.ModuleManifest) io.Reader {
	return &chunkReader{ctx: ctx, kvs: k, m: m}
}

type chunkReader struct {
	ctx  context.Context
	kvs  *KVS
	m    *essav1.ModuleManifest
	next int
	rest []byte
}

func (r *chunkReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.next >= int(r.m.Chunks) {
			return 0, io.EOF
		}
		var err error
		if r.rest, _, err = r.kvs.Data(r.ctx, ModuleSpace, r.m.Sha256, chunkKey(r.next)); err != nil {
			return 0, fmt.Errorf("chunk %d of module %.12s: %w", r.next, r.m.Sha256, err)
		}
		r.next++
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// PutModuleChunk stores one chunk of a module that is being uploaded.
func PutModuleChunk(ctx context.Context, k *KVS, sha string, i int, chunk []byte) error {
	_, err := k.Set(ctx, ModuleSpace, sha, chunkKey(i), chunk, PutOptions{})
	return err
}

// PutModuleManifest makes a module exist whose chunks are stored.
func PutModuleManifest(ctx context.Context, k *KVS, m *essav1.ModuleManifest) error {
	raw, err := proto.Marshal(m)
	if err != nil {
		return status.Errorf(status.Internal, "client: encode a module's manifest: %v", err)
	}
	if err := ListModule(ctx, k, m); err != nil {
		return err
	}
	_, err = k.Set(ctx, ModuleSpace, m.Sha256, []byte(manifestKey), raw, PutOptions{})
	return err
}

// ListModule enters m into the list of EachModule, which does not make it exist.
func ListModule(ctx context.Context, k *KVS, m *essav1.ModuleManifest) error {
	raw, err := proto.Marshal(m)
	if err != nil {
		return status.Errorf(status.Internal, "client: encode a module's manifest: %v", err)
	}
	_, err = k.Set(ctx, ModuleSpace, moduleIndex, []byte(m.Sha256), raw, PutOptions{})
	return err
}

// HideModule takes the manifest of a module away, so that it does not exist although it is still listed and stored, and
// returns it; nil if there was none. PutModuleManifest undoes it, DeleteModule goes on.
func HideModule(ctx context.Context, k *KVS, sha string) (*essav1.ModuleManifest, error) {
	m, err := loadManifest(ctx, k, sha)
	if status.Of(err) == status.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	_, err = k.Delete(ctx, ModuleSpace, sha, []byte(manifestKey), PutOptions{})
	return m, err
}

// EachModule calls f with the manifest of every stored module. Those of size 0 are listed only: their upload is under way or
// was given up.
func EachModule(ctx context.Context, k *KVS, f func(*essav1.ModuleManifest) error) error {
	var failed error
	err := k.ScanAll(ctx, ModuleSpace, moduleIndex, ScanOptions{}, func(i Item) bool {
		m := &essav1.ModuleManifest{}
		var raw []byte
		if raw, failed = PlainData(i.Value); failed != nil {
			return false
		}
		if failed = proto.Unmarshal(raw, m); failed == nil {
			failed = f(m)
		}
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// DeleteModule removes a stored module, its manifest first.
func DeleteModule(ctx context.Context, k *KVS, sha string) error {
	if _, err := k.Delete(ctx, ModuleSpace, sha, []byte(manifestKey), PutOptions{}); err != nil {
		return err
	}
	if err := k.DeleteScope(ctx, ModuleSpace, sha); err != nil {
		return err
	}
	_, err := k.Delete(ctx, ModuleSpace, moduleIndex, []byte(sha), PutOptions{})
	return err
}
