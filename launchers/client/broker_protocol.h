/*
 * The broker's protocol, for programs in C. The page on it is sandboxer/broker/PROTOCOL.md.
 * Generated from sandboxer/broker/protocol.py by `python -m sandboxer.broker.header`: change it there.
 */
#ifndef SANDBOXER_BROKER_PROTOCOL_H
#define SANDBOXER_BROKER_PROTOCOL_H

#include <stdint.h>

#define SBX_BROKER_VERSION 1
#define SBX_BROKER_PATH_SIZE_MAX 4095
#define SBX_BROKER_REQUEST_SIZE_MAX 8206
#define SBX_BROKER_REPLY_SIZE_MAX 16384
#define SBX_BROKER_SOCKET "/run/sandboxer/broker"
#define SBX_BROKER_VARIABLE "SANDBOXER_BROKER"
#define SBX_BROKER_DESCRIPTOR_VARIABLE "SANDBOXER_BROKER_FD"

enum sbx_broker_command {
	/* ask whether the broker is there */
	SBX_BROKER_HELLO = 0,
	/* open a regular file */
	SBX_BROKER_OPEN = 1,
	/* look at what a path names */
	SBX_BROKER_STAT = 2,
	/* ask whether the broker would open it */
	SBX_BROKER_ACCESS = 3,
	/* read a symbolic link */
	SBX_BROKER_READLINK = 4,
	/* read a directory, in the order of names */
	SBX_BROKER_LIST = 5,
	/* make a directory */
	SBX_BROKER_MKDIR = 6,
	/* rename within one rule's directory; over what is there only with the right to unlink it */
	SBX_BROKER_RENAME = 7,
	/* remove a file, a link or an empty directory */
	SBX_BROKER_UNLINK = 8,
	/* be told of changes */
	SBX_BROKER_WATCH = 9,
	/* connect to a service by the name that the policy uses */
	SBX_BROKER_CONNECT = 10,
	/* open a link or a file outside, with the user's own program for it */
	SBX_BROKER_PRESENT = 11,
};

enum sbx_broker_flag {
	/* open for reading */
	SBX_BROKER_FLAG_READ = 1,
	/* open for writing */
	SBX_BROKER_FLAG_WRITE = 2,
	/* open so that each write goes to the end */
	SBX_BROKER_FLAG_APPEND = 4,
	/* make the file when it isn't there; needs WRITE or APPEND */
	SBX_BROKER_FLAG_CREATE = 8,
	/* with CREATE: fail with EEXIST when it is there */
	SBX_BROKER_FLAG_EXCLUSIVE = 16,
	/* with WRITE: empty the file */
	SBX_BROKER_FLAG_TRUNCATE = 32,
	/* look at a symbolic link itself */
	SBX_BROKER_FLAG_NO_FOLLOW = 64,
	/* remove an empty directory */
	SBX_BROKER_FLAG_DIRECTORY = 128,
	/* fail with EEXIST when the new name is there */
	SBX_BROKER_FLAG_NO_REPLACE = 256,
};

struct sbx_broker_request {
	uint16_t version;
	uint16_t command;
	uint32_t flags;
	uint32_t argument;
	uint16_t first_size;
	uint16_t second_size;
};
_Static_assert(sizeof(struct sbx_broker_request) == 16, "a struct of the protocol has padding");

struct sbx_broker_reply {
	uint16_t version;
	uint16_t command;
	int32_t error;
	uint64_t value;
};
_Static_assert(sizeof(struct sbx_broker_reply) == 16, "a struct of the protocol has padding");

struct sbx_broker_stat {
	uint64_t device;
	uint64_t inode;
	uint64_t size;
	int64_t mtime_ns;
	int64_t ctime_ns;
	int64_t atime_ns;
	uint32_t mode;
	uint32_t links;
	uint32_t uid;
	uint32_t gid;
};
_Static_assert(sizeof(struct sbx_broker_stat) == 64, "a struct of the protocol has padding");

#endif
