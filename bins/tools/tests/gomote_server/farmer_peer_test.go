// The Go project's own gomote server of later years, as far as it can be had without Google's
// cloud: its service, sessions and access to objects as they are, over TLS and HTTP/2. In the place
// of the cloud are a task that runs at once, one buildlet at FARMER_BUILDLET, a bucket of the server
// that STORAGE_EMULATOR_HOST names, and a proxy that lets everybody in as tester@example.com.
//
// .ci/stores.py compiles this file as a test of the package internal/gomote of golang.org/x/build;
// bins/tools/tests/it/gomote_later.rs runs it.
package gomote

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/storage"
	"golang.org/x/build/buildlet"
	"golang.org/x/build/internal/access"
	"golang.org/x/build/internal/gomote/protos"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
)

// oneMachine is where all tasks come from.
type oneMachine struct{ address string }

func (m *oneMachine) RegisterInstance(context.Context, string, time.Duration) {}
func (m *oneMachine) DeregisterInstance(context.Context, string)              {}
func (m *oneMachine) HandleReverse(w http.ResponseWriter, _ *http.Request)    { http.NotFound(w, nil) }
func (m *oneMachine) WaitForInstance(context.Context, string) (buildlet.Client, error) {
	return buildlet.NewClient(m.address, buildlet.NoKeyPair), nil
}

// aside takes what clients post, as a bucket with a signed policy does; other objects are the
// emulator's.
type aside struct {
	bucket *storage.BucketHandle
	public string // of the emulator, with the bucket
	own    string // of this process

	mu   sync.Mutex
	sent map[string][]byte
}

func (a *aside) GenerateSignedPostPolicyV4(object string, _ *storage.PostPolicyV4Options) (*storage.PostPolicyV4, error) {
	fields := map[string]string{"key": object, "policy": "p", "x-goog-signature": "s"}
	return &storage.PostPolicyV4{URL: a.own + "/sent/", Fields: fields}, nil
}

func (a *aside) SignedURL(object string, _ *storage.SignedURLOptions) (string, error) {
	return a.public + "/" + object, nil
}

func (a *aside) Object(name string) *storage.ObjectHandle { return a.bucket.Object(name) }

func (a *aside) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := strings.TrimPrefix(r.URL.Path, "/sent/")
	if r.Method == http.MethodGet {
		sent, ok := a.sent[name]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Write(sent)
		return
	}
	parts, err := r.MultipartReader()
	if err != nil || r.ContentLength <= 0 {
		http.Error(w, fmt.Sprintf("no form, or of unknown size: %v", err), http.StatusBadRequest)
		return
	}
	fields := map[string]string{}
	for {
		part, err := parts.NextPart()
		if err != nil {
			http.Error(w, "no file", http.StatusBadRequest)
			return
		}
		text, err := io.ReadAll(part)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if part.FormName() != "file" {
			fields[part.FormName()] = string(text)
			continue
		}
		// What stands behind the file counts for nothing.
		if fields["policy"] != "p" || fields["x-goog-signature"] != "s" {
			http.Error(w, "the fields do not come first", http.StatusForbidden)
			return
		}
		a.sent[fields["key"]] = text
		w.WriteHeader(http.StatusNoContent)
		return
	}
}

// let names whoever shows a token.
func let(ctx context.Context, header string) (context.Context, error) {
	return access.ContextWithIAP(ctx, access.IAPFields{Email: "tester@example.com", ID: "accounts.google.com:" + header}), nil
}

type named struct {
	grpc.ServerStream
	ctx context.Context
}

func (n *named) Context() context.Context { return n.ctx }

func TestFarmerPeer(t *testing.T) {
	machine := os.Getenv("FARMER_BUILDLET")
	if machine == "" {
		t.Skip("run by the tests of gomote")
	}
	ctx := context.Background()
	client, err := storage.NewClient(ctx, option.WithoutAuthentication())
	if err != nil {
		t.Fatal(err)
	}
	bucket := fmt.Sprintf("gomote-%d", time.Now().UnixNano())
	if err := client.Bucket(bucket).Create(ctx, "p", nil); err != nil {
		t.Fatal(err)
	}
	objects := &aside{
		bucket: client.Bucket(bucket),
		public: "http://" + os.Getenv("STORAGE_EMULATOR_HOST") + "/" + bucket,
		sent:   map[string][]byte{},
	}
	plain := httptest.NewServer(objects)
	defer plain.Close()
	objects.own = plain.URL
	service := fakeGomoteSwarmingServer(t, ctx, mockSwarmClientSimple(), &oneMachine{machine}).(*SwarmingServer)
	service.bucket = objects
	server := grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			ctx, _ = let(ctx, "1")
			return next(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			ctx, _ := let(stream.Context(), "1")
			return next(srv, &named{stream, ctx})
		}),
	)
	protos.RegisterGomoteServiceServer(server, service)
	// As cmd/gomoteserver does it.
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			server.ServeHTTP(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	front.EnableHTTP2 = true
	front.StartTLS()
	defer front.Close()
	fmt.Printf("listening on %s\n", front.Listener.Addr())
	io.Copy(io.Discard, os.Stdin)
}
