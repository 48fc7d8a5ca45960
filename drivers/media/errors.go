package media

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"gocloud.dev/gcerrors"
	"google.golang.org/api/googleapi"

	"salvor/drivers"
	"salvor/internal/secret"
)

// errExists tells that an object is there that was to be made.
var errExists = errors.New("exists already")

// translate says of which class a store's error is. Its text stays.
func translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err() // the clients wrap it in ways of their own
	}
	err = secret.WithoutURLs(err) // a request's parameters may hold a token or a signature
	class := classOf(err)
	if class == nil || errors.Is(err, class) {
		return err
	}
	err = fmt.Errorf("%w (%w)", class, brief(err))
	switch code, _ := codeOf(err); code {
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return drivers.WithHint(err, "the bucket is in another region: say ?region= in its URL")
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AuthenticationFailed":
		return drivers.WithHint(err, "the credentials are wrong or have expired; where they come from: docs/media.md")
	case "":
		if noCredentials(err) {
			return drivers.WithHint(err, "where credentials come from: docs/media.md")
		}
	case "InvalidObjectState", "BlobArchived":
		return drivers.WithHint(err, "the object is in an archive tier: have the store restore it first")
	}
	return err
}

// briefError is a provider's error without the request that it answers.
type briefError struct {
	text string
	error
}

func (b *briefError) Error() string { return b.text }

func (b *briefError) Unwrap() error { return b.error }

// brief leaves the provider's own words of an error, where it has any.
func brief(err error) error {
	var amazon interface {
		ErrorCode() string
		ErrorMessage() string
	}
	if !errors.As(err, &amazon) || amazon.ErrorMessage() == "" {
		return err
	}
	return &briefError{amazon.ErrorCode() + ": " + amazon.ErrorMessage(), err}
}

// classOf returns the drivers' error that stands for a store's error; nil for one that may pass.
func classOf(err error) error {
	for _, class := range []error{
		drivers.ErrNotFound, drivers.ErrAccess, drivers.ErrChanged, drivers.ErrInvalid, drivers.ErrCorrupt, drivers.ErrNoSpace, errExists,
	} {
		if errors.Is(err, class) {
			return class
		}
	}
	if errors.Is(err, storage.ErrObjectNotExist) || errors.Is(err, storage.ErrBucketNotExist) {
		return drivers.ErrNotFound
	}
	code, status := codeOf(err)
	switch code {
	case "NoSuchKey", "NoSuchBucket", "NotFound", "BlobNotFound", "ContainerNotFound", "ResourceNotFound", "ContainerBeingDeleted":
		return drivers.ErrNotFound
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AllAccessDisabled",
		"AccountProblem", "AuthenticationFailed", "InvalidObjectState", "BlobArchived", "NoAuthenticationInformation":
		return drivers.ErrAccess
	case "QuotaExceeded", "XMinioStorageFull", "InsufficientCapacity", "StorageQuotaExceeded":
		return drivers.ErrNoSpace
	case "RequestTimeTooSkewed", "RequestTimeout", "BadDigest", "IncompleteBody", "SlowDown":
		return nil // pass, or are the network's
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "KeyTooLongError",
		"InvalidURI", "MetadataTooLarge", "InvalidArgument", "EntityTooLarge", "InvalidBucketName", "InvalidRequest",
		"InvalidMetadata", "EmptyMetadataKey", "InvalidResourceName", "OutOfRangeInput", "MissingRequiredHeader", "BadRequest",
		"InvalidHeaderValue", "XMinioInvalidObjectName":
		return drivers.ErrInvalid
	case "PreconditionFailed", "ConditionNotMet", "BlobAlreadyExists", "ConditionalRequestConflict":
		return errExists
	}
	switch status {
	case http.StatusNotFound:
		return drivers.ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return drivers.ErrAccess
	case http.StatusPreconditionFailed:
		return errExists
	case http.StatusBadRequest:
		return drivers.ErrInvalid
	case http.StatusInsufficientStorage:
		return drivers.ErrNoSpace
	}
	if noCredentials(err) {
		return drivers.ErrAccess
	}
	return portableClass(err)
}

// noCredentials tells that there are no credentials anywhere, for which the clients have no type.
func noCredentials(err error) bool {
	text := err.Error()
	return strings.Contains(text, "failed to refresh cached credentials") || strings.Contains(text, "could not find default credentials")
}

// portableClass goes by what gocloud says.
func portableClass(err error) error {
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return drivers.ErrNotFound
	case gcerrors.PermissionDenied:
		return drivers.ErrAccess
	case gcerrors.InvalidArgument:
		return drivers.ErrInvalid
	case gcerrors.FailedPrecondition, gcerrors.AlreadyExists:
		return errExists
	default:
		return nil
	}
}

// codeOf returns the provider's code and the HTTP status of an error, as far as it has them.
func codeOf(err error) (code string, status int) {
	if google, ok := errors.AsType[*googleapi.Error](err); ok {
		return "", google.Code
	}
	if azure, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return azure.ErrorCode, azure.StatusCode
	}
	var amazon interface{ ErrorCode() string }
	if errors.As(err, &amazon) {
		code = amazon.ErrorCode()
	}
	var response interface{ HTTPStatusCode() int }
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	return code, status
}
