/* version.c: which library this is. */
#include <framed/framed.h>

const char *framed_version(void)
{
    return FRAMED_VERSION;
}
