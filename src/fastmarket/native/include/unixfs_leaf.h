/* Digests of the leaves of a UnixFS file, read from a descriptor chunk by chunk.
 *
 * A leaf is its bytes (raw) or the dag-pb node of a file around them. Head and tail are written around the chunk
 * where it was read, so a leaf is hashed in one piece and nothing is copied.
 * Sources: ipfs/specs UNIXFS.md; the DAG-PB specification.
 */
#ifndef FASTMARKET_UNIXFS_LEAF_H
#define FASTMARKET_UNIXFS_LEAF_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "multiformat.h"
#include "sha256_impl.h"

#define FM_LEAF_ROOM 32 /* bytes before the chunk and behind it; the head is the longer, 4 tags and 2 lengths */
/* What is wrong with a file, where it is no errno. */
#define FM_FILE_ENDS (-1)
#define FM_FILE_DIRECTORY (-2)
#define FM_FILE_IRREGULAR (-3)
#define FM_FILE_LARGE (-4) /* more than one leaf */
#define FM_FILE_UNSETTLED (-5) /* it changed meanwhile or just before, or is not as long as its size says */

typedef struct {
    uint8_t *room; /* FM_LEAF_ROOM, a chunk, FM_LEAF_ROOM */
    uint8_t *start;
    size_t size;
} fm_leaf;

/* What stands before `size` > 0 bytes: PBNode.Data, and in it UnixFS Type = File and the tag of Data. */
static inline ptrdiff_t fm_leaf_head(uint8_t *out, uint64_t size) {
    uint8_t length[FM_MAX_PROTOBUF_VARINT];
    ptrdiff_t width = fm_varint_write(length, size), used = 1;
    out[0] = 0x0A;
    used += fm_varint_write(out + 1, 2 + 1 + (uint64_t)width + size + 1 + (uint64_t)width);
    out[used++] = 0x08;
    out[used++] = 2;
    out[used++] = 0x12;
    memcpy(out + used, length, (size_t)width);
    return used + width;
}

/* Reads one leaf and encodes it: 0, an errno, or FM_FILE_ENDS. */
static inline int fm_leaf_read(int fd, off_t offset, size_t size, int raw, fm_leaf *leaf) {
    uint8_t *data = leaf->room + FM_LEAF_ROOM, head[FM_LEAF_ROOM];
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(fd, data + done, size - done, offset + (off_t)done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno ? errno : EIO;
        if (got == 0) return FM_FILE_ENDS;
        done += (size_t)got;
    }
    leaf->start = data;
    leaf->size = size;
    if (!raw) {
        size_t before = (size_t)fm_leaf_head(head, size);
        memcpy(data - before, head, before);
        data[size] = 0x18; /* UnixFS filesize */
        leaf->start -= before;
        leaf->size += before + 1 + (size_t)fm_varint_write(data + size + 1, size);
    }
    return 0;
}

/* Two whole leaves at a time share a pass of the hash; what is left goes alone. */
#define FM_LEAVES_ROOM(chunk) (2 * ((chunk) + 2 * FM_LEAF_ROOM))

static inline int fm_leaves_hash(int fd, off_t offset, size_t length, size_t chunk, int raw, uint8_t *room,
                                 uint8_t *out) {
    fm_leaf leaves[2] = {{room, room, 0}, {room + chunk + 2 * FM_LEAF_ROOM, room, 0}};
    int fault = 0;
    for (; length >= 2 * chunk; offset += (off_t)(2 * chunk), length -= 2 * chunk, out += 2 * FM_SHA256_DIGEST) {
        fault = fm_leaf_read(fd, offset, chunk, raw, &leaves[0]);
        if (!fault) fault = fm_leaf_read(fd, offset + (off_t)chunk, chunk, raw, &leaves[1]);
        if (fault) return fault;
        fm_sha256_pair(leaves[0].start, leaves[0].size, leaves[1].start, leaves[1].size, out,
                       out + FM_SHA256_DIGEST);
    }
    while (length) {
        size_t size = length < chunk ? length : chunk;
        fault = fm_leaf_read(fd, offset, size, raw, &leaves[0]);
        if (fault) return fault;
        fm_sha256(leaves[0].start, leaves[0].size, out);
        offset += (off_t)size;
        length -= size;
        out += FM_SHA256_DIGEST;
    }
    return 0;
}

#ifdef __APPLE__
#define FM_MODIFIED(status) ((status).st_mtimespec)
#define FM_CHANGED(status) ((status).st_ctimespec)
#else
#define FM_MODIFIED(status) ((status).st_mtim)
#define FM_CHANGED(status) ((status).st_ctim)
#endif

static inline int64_t fm_nanoseconds(struct timespec at) {
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

/* Whether an open file is what it was: a change of its bytes shows in one of these. */
static inline int fm_file_moved(const struct stat *before, const struct stat *after) {
    return before->st_size != after->st_size ||
           fm_nanoseconds(FM_MODIFIED(*before)) != fm_nanoseconds(FM_MODIFIED(*after)) ||
           fm_nanoseconds(FM_CHANGED(*before)) != fm_nanoseconds(FM_CHANGED(*after));
}

/* Whether a file ends at `size`: some tell a size that is not their length. */
static inline int fm_file_ends(int fd, off_t size) {
    uint8_t more;
    ssize_t got;
    do got = pread(fd, &more, 1, size);
    while (got < 0 && errno == EINTR);
    return got == 0;
}

/* Opens a regular file of one leaf and reads it: 0, an errno, or FM_FILE_... One that changed at `settled` (ns of
 * Unix time) or later is left alone: its next change might not show in its times. */
static inline int fm_file_read(const char *path, size_t chunk, int raw, int64_t settled, fm_leaf *leaf) {
    static const uint8_t empty[] = {0x0A, 4, 0x08, 2, 0x18, 0}; /* no data field, and a size of zero */
    struct stat status, after;
    int fault = 0;
    /* Not blocking: opening a pipe nobody writes to would otherwise never return. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return errno;
    if (fstat(fd, &status)) fault = errno;
    else if (S_ISDIR(status.st_mode)) fault = FM_FILE_DIRECTORY;
    else if (!S_ISREG(status.st_mode)) fault = FM_FILE_IRREGULAR;
    else if ((uint64_t)status.st_size > chunk) fault = FM_FILE_LARGE;
    else if (fm_nanoseconds(FM_CHANGED(status)) >= settled) fault = FM_FILE_UNSETTLED;
    else if (status.st_size) fault = fm_leaf_read(fd, 0, (size_t)status.st_size, raw, leaf);
    else {
        leaf->start = leaf->room;
        leaf->size = raw ? 0 : sizeof empty;
        memcpy(leaf->room, empty, leaf->size);
    }
    if (fault == FM_FILE_ENDS) fault = FM_FILE_UNSETTLED;
    if (!fault && (fstat(fd, &after) || fm_file_moved(&status, &after) || !fm_file_ends(fd, status.st_size)))
        fault = FM_FILE_UNSETTLED;
    close(fd);
    return fault;
}

/* Each of `count` paths, one behind the other with their NULs: what is wrong with it, or 0 and its digest. Two
 * files at a time share a pass of the hash. */
static inline void fm_files_hash(const char *paths, size_t count, size_t chunk, int raw, int64_t settled,
                                 uint8_t *room, int *faults, uint8_t *out) {
    fm_leaf leaves[2] = {{room, room, 0}, {room + chunk + 2 * FM_LEAF_ROOM, room, 0}};
    size_t first = count; /* the file that waits in leaves[0]; count: none */
    for (size_t i = 0; i < count; i++, paths += strlen(paths) + 1) {
        fm_leaf *leaf = &leaves[first < count];
        faults[i] = fm_file_read(paths, chunk, raw, settled, leaf);
        if (faults[i]) continue;
        if (first == count) {
            first = i;
            continue;
        }
        fm_sha256_beside(leaves[0].start, leaves[0].size, leaf->start, leaf->size, out + first * FM_SHA256_DIGEST,
                         out + i * FM_SHA256_DIGEST);
        first = count;
    }
    if (first < count) fm_sha256(leaves[0].start, leaves[0].size, out + first * FM_SHA256_DIGEST);
}

#endif
