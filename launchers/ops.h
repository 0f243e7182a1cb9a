/*
 * The vocabulary of plans, for the decoder and the launcher.
 * Generated from sandboxer/plan/ops.py by `python -m sandboxer.plan.header`: change it there.
 */
#ifndef SBX_OPS_H
#define SBX_OPS_H

#define SBX_PLAN_MAGIC "SBXPLAN3"
#define SBX_PLAN_MAGIC_SIZE 8
#define SBX_PLAN_SIZE_MAX 262144 /* Bytes; the launcher reads a plan once into a static buffer of this size. */
#define SBX_OPS_MAX 1024
#define SBX_STAMPS_MAX 2048
#define SBX_ENV_MAX 256
#define SBX_ARGV_MAX 64
#define SBX_BPF_MAX 4096 /* Instructions: the kernel's own limit (BPF_MAXINSNS). */
#define SBX_KEEP_FDS_MAX 16
#define SBX_LISTEN_MAX 4
#define SBX_CONNECT_MAX 4
#define SBX_FACTS_MAX 4096 /* Bytes of what a plan adds to the state file of a running box. */
#define SBX_SCOPE_MAX 4096 /* Bytes of what the scope service is told. */
#define SBX_BROKER_DESCRIPTOR 99 /* Number of the descriptor that is connected to the broker, where the plan has BROKER_DESCRIPTOR. */
#define SBX_CONNECT_FIRST 100 /* Number of the first descriptor that a CONNECT makes; the following ones count up. */
#define SBX_PATH_SIZE_MAX 4096 /* Bytes with the NUL: PATH_MAX. */

/* What a mount operation does. Box paths are absolute; the launcher makes missing parents with mode 0755. */
enum sbx_op_kind {
	/* Make a directory (an existing one is kept). */
	SBX_OP_DIR = 1,
	/* Make a symbolic link at box_path that holds `source`, verbatim. */
	SBX_OP_LINK = 2,
	/* Make a regular file at box_path with the bytes of `data`. */
	SBX_OP_FILE = 3,
	/* Bind the host's `source` (fully resolved) at box_path, with all mounts beneath it. */
	SBX_OP_BIND = 4,
	/* Make the directory at box_path a writable mount of its own; the box's root becomes read-only. */
	SBX_OP_OWN = 5,
	/* Mount a new procfs at box_path. */
	SBX_OP_PROC = 6,
	/* Mount a new devpts instance at box_path. */
	SBX_OP_PTS = 7,
	/* Make what is at box_path, and all mounts beneath it, read-only. */
	SBX_OP_SEAL = 8,
	/* Cover what is at box_path with an empty, read-only directory or file. */
	SBX_OP_HIDE = 9,
	/* Bind a socket at box_path on which the launcher's monitor listens for the broker; `source` is its name ("broker", "ssh-agent"), which the broker is told. SOCK_SEQPACKET, or with STREAM SOCK_STREAM; `mode` is the socket's. */
	SBX_OP_LISTEN = 10,
	/* Connect to the host's socket `source` (fully resolved) before the box is made, and leave the connected descriptor to the application under the number `mode`, from CONNECT_FIRST on; box_path is /dev/fd/NUMBER. */
	SBX_OP_CONNECT = 11,
};

/* How a BIND behaves. With none: read-only, no device nodes, no set-uid programs. */
enum sbx_op_flag {
	/* Writable, where the user may write. */
	SBX_OPF_WRITE = 1,
	/* Device nodes work. */
	SBX_OPF_DEVICE = 2,
	/* Nothing in it can be executed. */
	SBX_OPF_NOEXEC = 4,
	/* The source must be a directory; without it, it must not be one. */
	SBX_OPF_DIRECTORY = 8,
	/* Of LISTEN: a stream socket. */
	SBX_OPF_STREAM = 16,
};

/* Switches of the fixed phases. */
enum sbx_plan_flag {
	/* A network namespace of the box's own, with only loopback. */
	SBX_PLAN_PRIVATE_NETWORK = 1,
	/* The application may make user namespaces; without it a kernel limit of 0 is set. */
	SBX_PLAN_NESTED_NAMESPACES = 2,
	/* A Landlock domain closes abstract sockets and signals to the outside (ABI 6). */
	SBX_PLAN_LANDLOCK_SCOPE = 4,
	/* The box ends when the process that started the launcher ends. */
	SBX_PLAN_DIE_WITH_PARENT = 8,
	/* Argument words that name host files are handed in, read-only. */
	SBX_PLAN_DOCUMENTS_READ = 16,
	/* ... and writable (implies DOCUMENTS_READ). */
	SBX_PLAN_DOCUMENTS_WRITE = 32,
	/* Valid for one working directory only; cached under a name that holds it. */
	SBX_PLAN_BY_DIRECTORY = 64,
	/* The box lives until its last process ends, not its first. */
	SBX_PLAN_LINGER = 128,
	/* A Landlock domain denies opening or changing what isn't mounted in the box, descriptors or not (ABI 3). */
	SBX_PLAN_LANDLOCK_FILES = 256,
	/* Where a standard descriptor is a terminal, the application can write to it, and not read what is typed. */
	SBX_PLAN_TERMINAL_OUTPUT = 512,
	/* A descriptor connected to the broker is left to the application (BROKER_DESCRIPTOR). */
	SBX_PLAN_BROKER_DESCRIPTOR = 1024,
	/* With a document comes the directory that it lies in, unless that holds the home or is hidden. */
	SBX_PLAN_DOCUMENTS_SIBLINGS = 2048,
	/* Started again, the application joins the box in which it runs. */
	SBX_PLAN_JOINS = 4096,
};

/* A limit that the kernel holds for each process of the box (setrlimit), the numbers of `limits` in a plan. */
enum sbx_limit_kind {
	/* RLIMIT_NPROC: processes and threads of the whole box, since the kernel counts them for each user namespace. */
	SBX_LIMIT_PROCESSES = 0,
	/* RLIMIT_NOFILE: open descriptors of each process. */
	SBX_LIMIT_OPEN_FILES = 1,
	/* RLIMIT_FSIZE: bytes that a file can be made long. */
	SBX_LIMIT_FILE_SIZE = 2,
	/* RLIMIT_DATA: bytes of private writable memory of each process. */
	SBX_LIMIT_DATA = 3,
};

/* A fact that shaped the plan; the launcher refuses the plan as stale when it no longer holds. */
enum sbx_stamp_kind {
	/* Environment variable `name` has exactly `value`. */
	SBX_STAMP_ENV = 1,
	SBX_STAMP_ENV_ABSENT = 2,
	/* lstat(name) has the same device, inode, size, mode, mtime and ctime. */
	SBX_STAMP_FILE = 3,
	/* lstat(name) has the same file type (sockets and device nodes, which are made anew). */
	SBX_STAMP_TYPE = 4,
	/* name doesn't exist (ENOENT or ENOTDIR). */
	SBX_STAMP_ABSENT = 5,
	/* uname's release is `name`. */
	SBX_STAMP_KERNEL = 6,
	/* The working directory is `name`. */
	SBX_STAMP_DIRECTORY = 7,
};

/* An entry of the environment inside. Whatever isn't named doesn't get in. */
enum sbx_env_kind {
	SBX_ENV_SET = 1,
	/* The value that the launcher's caller has, if any. */
	SBX_ENV_PASS = 2,
	/* Every variable of the caller's whose name starts so ("LC_"). */
	SBX_ENV_PASS_PREFIX = 3,
	/* A part of names ("TOKEN"): variables that have it, in capitals or not, never get in by PASS_PREFIX. */
	SBX_ENV_KEEP_OUT = 4,
};

#endif
