package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
)

// exportHead is the first line of an export, so that an import knows what it reads.
type exportHead struct {
	Essad  string `json:"essad"`
	Format int    `json:"format"`
}

const exportFormat = 1

func (a *app) exportCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "export [FILE]",
		Short: "Write all records as they are at one moment, one JSON document a line",
		Long: `Write all records of all spaces (state, modules, deployments) as they are at one moment: a head, one JSON document
per record, and a last line with their number. Without FILE, or with -, to standard output.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			out := a.out
			if len(args) == 1 && args[0] != "-" {
				f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
				if err != nil {
					return status.Errorf(status.Invalid, "%w", err)
				}
				defer func() { err = errors.Join(err, f.Close()) }()
				out = f
			}
			return a.withAdminKVS(cmd, func(k *client.KVS) error {
				n, err := exportTo(cmd, k, out)
				if err == nil && out != a.out {
					fmt.Fprintf(a.err, "exported %d records\n", n)
				}
				return err
			})
		},
	}
}

func (a *app) withAdminKVS(cmd *cobra.Command, f func(*client.KVS) error) error {
	return a.withClient(cmd.Context(), func(_ *client.Client, s transport.Session) error {
		k, err := client.NewKVS(s, client.Public)
		if err != nil {
			return err
		}
		return f(k)
	})
}

func exportTo(cmd *cobra.Command, k *client.KVS, to io.Writer) (int, error) {
	w := bufio.NewWriterSize(to, 1<<20)
	enc := json.NewEncoder(w)
	if err := enc.Encode(exportHead{Essad: "export", Format: exportFormat}); err != nil {
		return 0, err
	}
	n := 0
	err := k.Export(cmd.Context(), 0, func(rs []*client.Record) error {
		for _, r := range rs {
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		n += len(rs)
		return nil
	})
	if err != nil {
		return n, err
	}
	if err := enc.Encode(map[string]int{"records": n}); err != nil {
		return n, err
	}
	return n, w.Flush()
}

func (a *app) importCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "import [FILE]",
		Short: "Merge exported records into what is there",
		Long: `Merge records that "essad kvs export" wrote into what is there: values are merged as replicas merge them, so importing
twice changes nothing and what is newer here stays. Without FILE, or with -, from standard input.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := a.in
			bar := progressbar.DefaultSilent(-1)
			if len(args) == 1 && args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return status.Errorf(status.Invalid, "%w", err)
				}
				defer f.Close()
				in = f
				if st, err := f.Stat(); err == nil && isTerminal(a.err) {
					bar = progressbar.DefaultBytes(st.Size(), "importing")
				}
			}
			return a.withAdminKVS(cmd, func(k *client.KVS) error {
				n, err := importFrom(cmd, k, io.TeeReader(in, bar))
				_ = bar.Finish()
				if err != nil {
					return fmt.Errorf("after %d records: %w", n, err)
				}
				fmt.Fprintf(a.err, "imported %d records\n", n)
				return nil
			})
		},
	}
}

// importBatch bounds one request of an import.
const (
	importBatch      = 1024
	importBatchBytes = 4 << 20
)

func importFrom(cmd *cobra.Command, k *client.KVS, in io.Reader) (n int, err error) {
	dec := json.NewDecoder(bufio.NewReaderSize(in, 1<<20))
	var head exportHead
	if err := dec.Decode(&head); err != nil || head.Essad != "export" || head.Format != exportFormat {
		return 0, status.Errorf(status.Invalid, "this is no export of essad in format %d", exportFormat)
	}
	var batch []*client.Record
	bytes := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := k.Import(cmd.Context(), batch)
		if err == nil {
			n += len(batch)
		}
		batch, bytes = nil, 0
		return err
	}
	for {
		var line struct {
			Key     []byte `json:"key"`
			Record  []byte `json:"record"`
			Records *int   `json:"records"`
		}
		if err := dec.Decode(&line); err != nil {
			return n, status.Errorf(status.Corrupt, "the export ends early or is damaged: %w", err)
		}
		if line.Records != nil {
			if err := flush(); err != nil {
				return n, err
			}
			if n != *line.Records {
				return n, status.Errorf(status.Corrupt, "the export tells of %d records and holds %d", *line.Records, n)
			}
			return n, nil
		}
		batch, bytes = append(batch, &client.Record{Key: line.Key, Record: line.Record}), bytes+len(line.Record)
		if len(batch) >= importBatch || bytes >= importBatchBytes {
			if err := flush(); err != nil {
				return n, err
			}
		}
	}
}
