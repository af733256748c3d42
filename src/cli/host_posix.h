/*
 * host_posix.h: what the host_posix*.c files share.
 */
#ifndef FRAMED_CLI_HOST_POSIX_H
#define FRAMED_CLI_HOST_POSIX_H

#include <framed/base.h>

/* Keeps an errno for framed_host_error; returns FRAMED_OS. */
enum framed_status framed_host_failed(int error);

#endif
