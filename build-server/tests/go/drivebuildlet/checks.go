package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/build/buildlet"
)

// ctx is that of every call: the driver's own caller ends it in time.
var ctx = context.Background()

type namedCheck struct {
	name string
	run  func(*buildlet.Client) error
}

// checks are all calls of the client, in an order in which later ones use
// the files of earlier ones.
func checks() []namedCheck {
	return []namedCheck{
		{"Status", checkStatus},
		{"WorkDir", checkWorkDir},
		{"Put", checkPut},
		{"Put executable", checkPutExecutable},
		{"Put outside", checkPutOutside},
		{"PutTar", checkPutTar},
		{"PutTar of two gzip members", checkPutTarMembers},
		{"PutTar of no archive", checkPutTarGarbage},
		{"PutTarFromURL", checkPutTarFromURL},
		{"PutTarFromURL of a missing file", checkPutTarFromURLMissing},
		{"GetTar", checkGetTar},
		{"GetTar of one gzip member", checkGetTarReleaseMode},
		{"GetTar of a missing directory", checkGetTarMissing},
		{"ListDir", checkListDir},
		{"ListDir recursive with digests", checkListDirRecursive},
		{"ListDir of a missing directory", checkListDirMissing},
		{"Exec", checkExec},
		{"Exec that fails", checkExecFails},
		{"Exec that is killed", checkExecKilled},
		{"Exec of nothing", checkExecMissing},
		{"Exec with arguments and environment", checkExecEnv},
		{"Exec with a path", checkExecPath},
		{"Exec with an empty path", checkExecEmptyPath},
		{"Exec in a directory", checkExecDir},
		{"Exec with debug", checkExecDebug},
		{"Exec streams", checkExecStreams},
		{"Exec of much output", checkExecMuch},
		{"Exec of many", checkExecMany},
		{"RemoveAll", checkRemoveAll},
		{"ConnectSSH", checkConnectSSH},
		{"Exec with a time-out", checkExecTimeout},
		{"Close", checkClose},
	}
}

func checkStatus(c *buildlet.Client) error {
	status, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if status.Version < 25 {
		return fmt.Errorf("version %d", status.Version)
	}
	return nil
}

func checkWorkDir(c *buildlet.Client) error {
	dir, err := c.WorkDir(ctx)
	if err != nil {
		return err
	}
	if !filepath.IsAbs(dir) || strings.TrimSpace(dir) != dir {
		return fmt.Errorf("work directory %q", dir)
	}
	return nil
}

func checkPut(c *buildlet.Client) error {
	if err := c.Put(ctx, strings.NewReader("hello\n"), "put/b c+.txt", 0644); err != nil {
		return err
	}
	// A reader of unknown length is sent in chunks.
	chunked := io.MultiReader(strings.NewReader("he"), strings.NewReader("llo\n"))
	if err := c.Put(ctx, chunked, "put/chunked.txt", 0600); err != nil {
		return err
	}
	return wantOutput(c, "hello\nhello\n", "/bin/cat", "put/b c+.txt", "put/chunked.txt")
}

func checkPutExecutable(c *buildlet.Client) error {
	script := "#!/bin/sh\necho ran in $(basename $PWD)\n"
	if err := c.Put(ctx, strings.NewReader(script), "bin/script.sh", 0755); err != nil {
		return err
	}
	out, err := run(c, "bin/script.sh", buildlet.ExecOpts{})
	if err != nil {
		return err
	}
	return same(out, "ran in bin\n")
}

func checkPutOutside(c *buildlet.Client) error {
	return wantErr(c.Put(ctx, strings.NewReader("x"), "../outside", 0644), "400")
}

func checkPutTar(c *buildlet.Client) error {
	files := map[string]string{"a/one.txt": "one\n", "a/b/two.txt": "two\n", "three.txt": "three\n"}
	if err := c.PutTar(ctx, bytes.NewReader(tarball(files, 1)), "tree"); err != nil {
		return err
	}
	return wantOutput(c, "one\ntwo\nthree\n", "/bin/cat", "tree/a/one.txt", "tree/a/b/two.txt", "tree/three.txt")
}

func checkPutTarMembers(c *buildlet.Client) error {
	files := map[string]string{"long.txt": strings.Repeat("0123456789", 1000)}
	if err := c.PutTar(ctx, bytes.NewReader(tarball(files, 2)), "members"); err != nil {
		return err
	}
	return wantOutput(c, files["long.txt"], "/bin/cat", "members/long.txt")
}

func checkPutTarGarbage(c *buildlet.Client) error {
	return wantErr(c.PutTar(ctx, strings.NewReader("no gzip"), "garbage"), "requires gzip-compressed body")
}

func checkPutTarFromURL(c *buildlet.Client) error {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write(tarball(map[string]string{"fetched.txt": "fetched\n"}, 1))
	}))
	defer server.Close()
	if err := c.PutTarFromURL(ctx, server.URL+"/a.tar.gz", "from-url"); err != nil {
		return err
	}
	return wantOutput(c, "fetched\n", "/bin/cat", "from-url/fetched.txt")
}

func checkPutTarFromURLMissing(c *buildlet.Client) error {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	return wantErr(c.PutTarFromURL(ctx, server.URL+"/missing.tar.gz", "from-url"), "404 Not Found")
}

func checkGetTar(c *buildlet.Client) error {
	got, err := untar(c, "tree")
	if err != nil {
		return err
	}
	return same(got, "a/ a/b/ a/b/two.txt=two\n a/one.txt=one\n three.txt=three\n")
}

func checkGetTarReleaseMode(c *buildlet.Client) error {
	c.SetReleaseMode(true)
	defer c.SetReleaseMode(false)
	got, err := untar(c, "tree/a/b")
	if err != nil {
		return err
	}
	return same(got, "two.txt=two\n")
}

func checkGetTarMissing(c *buildlet.Client) error {
	// Old servers cut the connection; anything but an archive will do.
	_, err := untar(c, "no-such-directory")
	return wantErr(err, "")
}

func checkListDir(c *buildlet.Client) error {
	got, err := list(c, "tree", buildlet.ListDirOpts{})
	if err != nil {
		return err
	}
	return same(got, "a/ three.txt")
}

func checkListDirRecursive(c *buildlet.Client) error {
	opts := buildlet.ListDirOpts{Recursive: true, Digest: true, Skip: []string{"a/b"}}
	got, err := list(c, "tree", opts)
	if err != nil {
		return err
	}
	one := fmt.Sprintf("%x", sha1.Sum([]byte("one\n")))
	three := fmt.Sprintf("%x", sha1.Sum([]byte("three\n")))
	return same(got, "a/ a/one.txt#"+one+" three.txt#"+three)
}

func checkListDirMissing(c *buildlet.Client) error {
	_, err := list(c, "no-such-directory", buildlet.ListDirOpts{})
	return wantErr(err, "Walk error")
}

func checkExec(c *buildlet.Client) error {
	started := false
	out, err := run(c, "/bin/sh", buildlet.ExecOpts{
		SystemLevel: true,
		Args:        []string{"-c", "echo out; echo err >&2"},
		OnStartExec: func() { started = true },
	})
	if err != nil {
		return err
	}
	if !started {
		return errors.New("OnStartExec was not called")
	}
	return same(out, "out\nerr\n")
}

func checkExecFails(c *buildlet.Client) error {
	return wantRemote(c, "exit status 7", "/bin/sh", "-c", "exit 7")
}

func checkExecKilled(c *buildlet.Client) error {
	return wantRemote(c, "signal: killed", "/bin/sh", "-c", "kill -9 $$")
}

func checkExecMissing(c *buildlet.Client) error {
	return wantRemote(c, "no such file or directory", "/no/such/program")
}

func checkExecEnv(c *buildlet.Client) error {
	out, err := run(c, "/bin/sh", buildlet.ExecOpts{
		SystemLevel: true,
		Args:        []string{"-c", `printf '%s|' "$A" "$B" "$1" "$2"`, "sh", "y z", "&=%+é"},
		ExtraEnv:    []string{"A=1", "B=old", "B=a b&c=d"},
	})
	if err != nil {
		return err
	}
	return same(out, "1|a b&c=d|y z|&=%+é|")
}

func checkExecPath(c *buildlet.Client) error {
	work, err := c.WorkDir(ctx)
	if err != nil {
		return err
	}
	out, err := run(c, "/bin/sh", buildlet.ExecOpts{
		SystemLevel: true,
		Args:        []string{"-c", "echo $PATH"},
		Path:        []string{"/go/bin", "$PATH", "$WORKDIR/foo"},
	})
	if err != nil {
		return err
	}
	out = strings.TrimSpace(out)
	if !strings.HasPrefix(out, "/go/bin:") || !strings.HasSuffix(out, ":"+work+"/foo") {
		return fmt.Errorf("PATH is %q", out)
	}
	return nil
}

func checkExecEmptyPath(c *buildlet.Client) error {
	// Looked at through env: a shell would set a PATH of its own.
	out, err := run(c, "/usr/bin/env", buildlet.ExecOpts{SystemLevel: true, Path: []string{}})
	if err != nil {
		return err
	}
	if strings.HasPrefix(out, "PATH=") || strings.Contains(out, "\nPATH=") {
		return fmt.Errorf("there is a PATH in %q", out)
	}
	return nil
}

func checkExecDir(c *buildlet.Client) error {
	out, err := run(c, "/bin/cat", buildlet.ExecOpts{
		SystemLevel: true,
		Dir:         "tree/a",
		Args:        []string{"one.txt"},
	})
	if err != nil {
		return err
	}
	return same(out, "one\n")
}

func checkExecDebug(c *buildlet.Client) error {
	out, err := run(c, "/bin/echo", buildlet.ExecOpts{
		SystemLevel: true,
		Debug:       true,
		Args:        []string{"hi"},
	})
	if err != nil {
		return err
	}
	if !strings.HasPrefix(out, ":: Running /bin/echo with args [") || !strings.HasSuffix(out, "\n\nhi\n") {
		return fmt.Errorf("debug output %q", out)
	}
	return nil
}

// checkExecStreams sees the first line while the command still runs, and then
// lets it go on.
func checkExecStreams(c *buildlet.Client) error {
	first := make(chan struct{}, 1)
	done := make(chan error, 1)
	go func() {
		_, err := runTo(c, writerFunc(func(p []byte) {
			select {
			case first <- struct{}{}:
			default:
			}
		}), "/bin/sh", buildlet.ExecOpts{
			SystemLevel: true,
			Args:        []string{"-c", "echo first; while [ ! -e go-on ]; do sleep 0.05; done"},
		})
		done <- err
	}()
	select {
	case <-first:
	case err := <-done:
		return fmt.Errorf("the command ended before its output arrived: %v", err)
	case <-time.After(20 * time.Second):
		return errors.New("output is held back")
	}
	if err := c.Put(ctx, strings.NewReader(""), "go-on", 0644); err != nil {
		return err
	}
	return <-done
}

func checkExecMuch(c *buildlet.Client) error {
	var n int64
	_, err := runTo(c, writerFunc(func(p []byte) { n += int64(len(p)) }), "/bin/sh", buildlet.ExecOpts{
		SystemLevel: true,
		Args:        []string{"-c", "head -c 33554433 /dev/zero"},
	})
	if err == nil && n != 33554433 {
		err = fmt.Errorf("%d bytes", n)
	}
	return err
}

func checkExecMany(c *buildlet.Client) error {
	const many = 8
	errs := make(chan error, many)
	for i := 0; i < many; i++ {
		go func(i int) {
			errs <- wantRemote(c, fmt.Sprintf("exit status %d", i+1), "/bin/sh", "-c", fmt.Sprintf("exit %d", i+1))
		}(i)
	}
	for i := 0; i < many; i++ {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

func checkRemoveAll(c *buildlet.Client) error {
	if err := c.RemoveAll(ctx); err != nil {
		return err
	}
	if err := c.RemoveAll(ctx, "tree/a", "members", "was-never-there"); err != nil {
		return err
	}
	got, err := list(c, "tree", buildlet.ListDirOpts{Recursive: true})
	if err != nil {
		return err
	}
	if err := same(got, "three.txt"); err != nil {
		return err
	}
	return wantErr(c.RemoveAll(ctx, "../outside"), "400")
}

// checkConnectSSH expects a refusal in plain words: the machine of a test has no
// ssh server for strangers.
func checkConnectSSH(c *buildlet.Client) error {
	conn, err := c.ConnectSSH("nobody", "ssh-ed25519 AAAA interop@test")
	if err == nil {
		conn.Close()
		return errors.New("connected")
	}
	return nil
}

func checkExecTimeout(c *buildlet.Client) error {
	begin := time.Now()
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, err := c.Exec(short, "/bin/sleep", buildlet.ExecOpts{
		SystemLevel: true,
		Args:        []string{"60"},
	})
	// The client says ErrTimeout, or wraps the context's error in words of its own, after
	// where the deadline met it.
	if err != buildlet.ErrTimeout {
		if err := wantErr(err, context.DeadlineExceeded.Error()); err != nil {
			return err
		}
	}
	if took := time.Since(begin); took > 10*time.Second {
		return fmt.Errorf("the time-out took %v", took)
	}
	return nil
}

// checkClose ends the machine, after which the client knows that it is gone.
func checkClose(c *buildlet.Client) error {
	if err := c.Close(); err != nil {
		return err
	}
	if !c.IsBroken() {
		return errors.New("the client takes a closed machine for whole")
	}
	_, err := c.Status(ctx)
	return wantErr(err, "")
}

// run executes a command and gives its output; the error is either error of Exec.
func run(c *buildlet.Client, cmd string, opts buildlet.ExecOpts) (string, error) {
	var out bytes.Buffer
	remote, err := runTo(c, &out, cmd, opts)
	if err == nil && remote != nil {
		err = fmt.Errorf("command failed: %v; output %q", remote, out.String())
	}
	return out.String(), err
}

func runTo(c *buildlet.Client, out io.Writer, cmd string, opts buildlet.ExecOpts) (remote, err error) {
	opts.Output = out
	return c.Exec(ctx, cmd, opts)
}

func wantOutput(c *buildlet.Client, want, cmd string, args ...string) error {
	out, err := run(c, cmd, buildlet.ExecOpts{SystemLevel: true, Args: args})
	if err != nil {
		return err
	}
	return same(out, want)
}

func wantRemote(c *buildlet.Client, want, cmd string, args ...string) error {
	remote, err := c.Exec(ctx, cmd, buildlet.ExecOpts{SystemLevel: true, Args: args})
	if err != nil {
		return fmt.Errorf("infrastructure error: %v", err)
	}
	return wantErr(remote, want)
}

func wantErr(err error, text string) error {
	if err == nil {
		return errors.New("no error")
	}
	if !strings.Contains(err.Error(), text) {
		return fmt.Errorf("error %q, want %q in it", err, text)
	}
	return nil
}

func same(got, want string) error {
	if got != want {
		return fmt.Errorf("got %.200q, want %.200q", got, want)
	}
	return nil
}

func list(c *buildlet.Client, dir string, opts buildlet.ListDirOpts) (string, error) {
	var lines []string
	err := c.ListDir(ctx, dir, opts, func(e buildlet.DirEntry) {
		line := e.Name()
		if e.Digest() != "" {
			line += "#" + e.Digest()
		}
		lines = append(lines, line)
	})
	return strings.Join(lines, " "), err
}

// untar gets a directory and writes it as one line: names, and contents after "=".
func untar(c *buildlet.Client, dir string) (string, error) {
	body, err := c.GetTar(ctx, dir)
	if err != nil {
		return "", err
	}
	defer body.Close()
	zr, err := gzip.NewReader(body)
	if err != nil {
		return "", err
	}
	var lines []string
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", err
		}
		line := h.Name
		if h.Typeflag == tar.TypeReg {
			content, err := io.ReadAll(tr)
			if err != nil {
				return "", err
			}
			line += "=" + string(content)
		}
		lines = append(lines, line)
	}
	if _, err := io.Copy(io.Discard, zr); err != nil {
		return "", err
	}
	return strings.Join(lines, " "), nil
}

// tarball packs files in the order of their names, in so many gzip members.
func tarball(files map[string]string, members int) []byte {
	var plain bytes.Buffer
	tw := tar.NewWriter(&plain)
	var names []string
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		must(tw.WriteHeader(&tar.Header{Name: name, Mode: 0644, Size: int64(len(files[name])), ModTime: time.Unix(1608753536, 0)}))
		_, err := io.WriteString(tw, files[name])
		must(err)
	}
	must(tw.Close())
	var packed bytes.Buffer
	for member := 0; member < members; member++ {
		from, to := plain.Len()*member/members, plain.Len()*(member+1)/members
		zw := gzip.NewWriter(&packed)
		_, err := zw.Write(plain.Bytes()[from:to])
		must(err)
		must(zw.Close())
	}
	return packed.Bytes()
}

// must is for writes to memory.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
