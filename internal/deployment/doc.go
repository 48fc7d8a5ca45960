// Package deployment holds the tests of Dockerfile, .dockerignore and docker-compose.yml: that all they name exists, that
// the program builds from what they send to the builder, and that Redis and the workers start as they are told to.
//
// It needs no container engine: the files are read by the parsers of BuildKit and Compose, and what they would run in
// containers is run as it is, with the paths of a temporary directory in place of the containers'.
//
// It is a module of its own because those parsers must not choose the versions of what the product is linked with.
package deployment
