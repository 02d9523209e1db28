package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/essa-project/essad/essad/internal/agent"
	"github.com/essa-project/essad/sdk/client"
	"github.com/essa-project/essad/sdk/status"
	"github.com/essa-project/essad/sdk/transport"
	fabrictransport "github.com/essa-project/essad/sdk/transport/zenoh"
	"github.com/essa-project/essad/sdk/zenoh"
)

// systemSocket is where the packaged daemon listens.
const systemSocket = "/run/essad/essad.sock"

// userSocket is where `essad dev` listens: the user's runtime folder, or a folder of the user's own in the temporary one.
func userSocket() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "essad.sock")
	}
	return filepath.Join(os.TempDir(), "essad-"+uidString(), "essad.sock")
}

// trusted reports whether nobody but the user can have put a socket where userSocket says. The user's runtime folder is the
// system's promise; the one in the temporary folder anybody may have made first.
func trusted(socket string) bool {
	if os.Getenv("XDG_RUNTIME_DIR") != "" {
		return true
	}
	fi, err := os.Lstat(filepath.Dir(socket))
	if err != nil || !fi.IsDir() || fi.Mode().Perm()&0o022 != 0 {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid()
}

// linkFlags say how the daemon is reached. Each has a variable of the environment.
type linkFlags struct {
	address      string
	user         string
	passwordFile string
	ca           string
	certificate  string
	key          string
	anyName      bool
}

// The variables. They are the command line's own and no keys of the configuration; the daemon uses the password too.
const (
	envAddress      = "ESSA_ADDRESS"
	envUser         = "ESSA_USER"
	envPassword     = agent.PasswordVariable
	envPasswordFile = "ESSA_PASSWORD_FILE"
	envCA           = "ESSA_TLS_CA"
	envCertificate  = "ESSA_TLS_CERT"
	envKey          = "ESSA_TLS_KEY"
)

func (l *linkFlags) add(f *pflag.FlagSet) {
	f.StringVar(&l.address, "address", "",
		"the daemon: tcp/HOST:PORT, tls/HOST:PORT, unixsock-stream/PATH or the path of its socket (default $ESSA_ADDRESS, else the user's runtime folder, else /run/essad/essad.sock)")
	f.StringVar(&l.user, "user", "", "user to link as, where the daemon asks for one (default $ESSA_USER)")
	f.StringVar(&l.passwordFile, "password-file", "", "file whose first line is the user's password (default $ESSA_PASSWORD_FILE, else the password is $ESSA_PASSWORD)")
	f.StringVar(&l.ca, "tls-ca", "", "PEM file of the authority of the daemon's certificate (default $ESSA_TLS_CA, else the system's)")
	f.StringVar(&l.certificate, "tls-cert", "", "PEM file of the certificate to show (default $ESSA_TLS_CERT)")
	f.StringVar(&l.key, "tls-key", "", "PEM file of its private key (default $ESSA_TLS_KEY)")
	f.BoolVar(&l.anyName, "tls-any-name", false, "do not compare the daemon's certificate with the host in --address")
}

func orEnv(flag, variable string) string {
	if flag != "" {
		return flag
	}
	return os.Getenv(variable)
}

// The protocols of addresses.
const (
	unixProtocol = "unixsock-stream/"
	tcpProtocol  = "tcp/"
	tlsProtocol  = "tls/"
)

// endpoint finds the daemon: the flag, the environment, the user's own daemon, the system's.
func (a *app) endpoint() (string, error) {
	if s := orEnv(a.link.address, envAddress); s != "" {
		return endpointOf(s)
	}
	if _, err := os.Stat(userSocket()); err == nil && trusted(userSocket()) {
		return unixProtocol + userSocket(), nil
	}
	return unixProtocol + systemSocket, nil
}

// endpointOf makes a Zenoh endpoint of an address: it is one, or the path of a socket.
func endpointOf(address string) (string, error) {
	for _, p := range []string{tcpProtocol, tlsProtocol} {
		if strings.HasPrefix(address, p) {
			return address, nil
		}
	}
	path, err := filepath.Abs(strings.TrimPrefix(address, unixProtocol))
	if err != nil {
		return "", fmt.Errorf("--address %s: %w", address, err)
	}
	if strings.ContainsAny(path, "?#") {
		return "", fmt.Errorf("--address %s: the path of a socket must not contain \"?\" or \"#\"", address)
	}
	return unixProtocol + path, nil
}

// ownSocket reports whether the daemon is reached by a socket of this machine.
func (a *app) ownSocket() bool {
	e, err := a.endpoint()
	return err == nil && strings.HasPrefix(e, unixProtocol)
}

// connectTimeout bounds how long the daemon may take to answer the handshake.
const connectTimeout = 5 * time.Second

// connect opens a session to the daemon.
func (a *app) connect(ctx context.Context) (transport.Session, error) {
	endpoint, err := a.endpoint()
	if err != nil {
		return nil, err
	}
	c := zenoh.Config{
		Mode: zenoh.ModeClient, Connect: []string{endpoint}, OpenTimeout: connectTimeout, NoReconnect: true,
		User: orEnv(a.link.user, envUser),
		TLS: zenoh.TLS{
			RootCA: orEnv(a.link.ca, envCA), ConnectCert: orEnv(a.link.certificate, envCertificate), ConnectKey: orEnv(a.link.key, envKey),
			SkipNameCheck: a.link.anyName,
		},
	}
	c.TLS.Mutual = c.TLS.ConnectCert != ""
	if c.Password, err = a.password(); err != nil {
		return nil, err
	}
	s, err := fabrictransport.Open(ctx, c)
	if err != nil {
		where := strings.TrimPrefix(endpoint, unixProtocol)
		if orEnv(a.link.address, envAddress) == "" && where == systemSocket {
			where = userSocket() + ", nor at " + systemSocket
		}
		return nil, status.Errorf(status.Unavailable,
			"no daemon at %s: %w (start one with `essad dev`, or name another with --address)", where, err)
	}
	return s, nil
}

func (a *app) password() (string, error) {
	file := orEnv(a.link.passwordFile, envPasswordFile)
	if file == "" {
		return os.Getenv(envPassword), nil
	}
	p, err := agent.ReadPassword(file)
	if err != nil {
		return "", status.Errorf(status.Invalid, "--password-file: %w", err)
	}
	return p, nil
}

// withClient runs f with a client of the daemon.
func (a *app) withClient(ctx context.Context, f func(*client.Client, transport.Session) error) error {
	s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	return f(client.New(s), s)
}
