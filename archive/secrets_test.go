package archive

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"gocloud.dev/blob/azureblob"
)

// TestNoSecretsOfRequests: what a request's URL holds beside the server is in no error, where nobody answers.
func TestNoSecretsOfRequests(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	refused := func(what string, err error) {
		t.Helper()
		if err == nil || strings.Contains(err.Error(), "SECRET") || !strings.Contains(err.Error(), server.URL+": ") {
			t.Errorf("%s: %v", what, err)
		}
	}

	client, err := container.NewClientWithNoCredential(server.URL+"/c?sv=2024-01-01&sig=SECRET%2BKEY", &container.ClientOptions{
		ClientOptions: policy.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := azureblob.OpenBucket(t.Context(), client, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	_, err = Open(t.Context(), "azblob://c", Options{Bucket: b})
	refused("open Azure", err)
	_, err = Create(t.Context(), "azblob://c", Options{Bucket: b})
	refused("create in Azure", err)
	_, err = Open(t.Context(), "s3://b?X-Amz-Signature=SECRET", Options{})
	if err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("open a URL with a parameter that there is not: %v", err)
	}
}
