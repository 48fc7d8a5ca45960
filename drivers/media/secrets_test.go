package media

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"gocloud.dev/blob/azureblob"

	"salvor/drivers"
)

// closedPort is a server's URL where nobody answers any more.
func closedPort() string {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	return s.URL
}

// TestNoSecretsOfRequests: what a request's URL holds beside the server is in no error, where nobody answers.
func TestNoSecretsOfRequests(t *testing.T) {
	t.Parallel()
	server := closedPort()
	client, err := container.NewClientWithNoCredential(server+"/c?sv=2024-01-01&sig=SECRET%2BKEY", &container.ClientOptions{
		ClientOptions: policyOptions(&http.Client{}),
	})
	must(t, err)
	b, err := azureblob.OpenBucket(t.Context(), client, nil)
	must(t, err)
	place := location{provider: "azblob", bucket: "c", display: "azblob://c"}
	azure := newTree(place, place.storeOf(b, nil), nil)
	t.Cleanup(func() { must(t, azure.Close()) })
	trees := map[string]drivers.Tree{"Azure": azure}
	for name, endpoint := range map[string]string{
		"signature": server + "/?X-Amz-Credential=SECRET&X-Amz-Signature=SECRET", "user": strings.Replace(server, "://", "://SECRET:SECRET@", 1),
	} {
		trees["S3, "+name] = open(t, "s3://b?region=eu-west-1&use_path_style=true&endpoint="+url.QueryEscape(endpoint), "")
	}
	for name, tree := range trees {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tree.Walk(t.Context(), drivers.Range{}, func(drivers.Entry) error { return nil })
			if err == nil || strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "?") || !strings.Contains(err.Error(), server+": ") {
				t.Errorf("list: %v", err)
			}
			if tree != azure {
				return // its client tries again for seconds
			}
			err = putText(t, tree, overwrite, drivers.Entry{Path: "a"}, "text")
			if err == nil || strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "?") {
				t.Errorf("put: %v", err)
			}
		})
	}
}
