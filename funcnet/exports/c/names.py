"""Names that a file of C may not define: words of the language, and names of its library."""

from __future__ import annotations

from typing import Any

from funcnet.errors import ExportError
from funcnet.native.writing import identifier

WORDS = """
alignas alignof and asm assert auto bitand bitor bool break case catch char class compl complex const constexpr
continue default delete do double else enum errno explicit export extern false far float for fpclassify friend goto if
imaginary inline int isfinite isgreater isinf isless isnan isnormal isunordered linux long main mutable namespace near
new noreturn not nullptr offsetof operator or private protected public register restrict return setjmp short signbit
signed sizeof static stderr stdin stdout struct switch template this thread_local throw true try typedef typename
typeof union unix unsigned using virtual void volatile while xor
"""
"""Of C and of C++, and macros of the library and of compilers."""
REAL = """
acos acosh asin asinh atan atan2 atanh cabs cacos cacosh carg casin casinh catan catanh cbrt ccos ccosh ceil cexp
cimag clog conj copysign cos cosh cpow cproj creal csin csinh csqrt ctan ctanh erf erfc exp exp2 expm1 fabs fdim floor
fma fmax fmin fmod frexp hypot ilogb ldexp lgamma llrint llround log log10 log1p log2 logb lrint lround modf nan
nearbyint nextafter nexttoward pow remainder remquo rint round scalbln scalbn sin sinh sqrt tan tanh tgamma trunc
"""
"""Functions that end in f for float and in l for long double."""
LIBRARY = """
abort abs accept access advance alarm asctime atexit atof atoi atol atol64 atoll bcmp bcopy bind brk bsearch btowc
bzero calloc chdir chmod chown clearerr clock clone close closedir connect ctime cuserid daemon difftime dirname div
dlclose dlopen dlsym drand48 drem dup dup2 environ erand48 execl execle execlp execv execve execvp exit fclose fcntl
fdopen feclearexcept fegetenv fegetexceptflag fegetround feholdexcept feof feraiseexcept ferror fesetenv
fesetexceptflag fesetround fetestexcept feupdateenv fflush ffs fgetc fgetpos fgets fgetwc fgetws fileno finite flock
fopen fork fprintf fputc fputs fputwc fputws fread free freopen fscanf fseek fsetpos ftell ftime ftok ftruncate fwide
fwprintf fwrite fwscanf gamma getc getchar getcwd getdate getenv getline getopt getpid gets getwc getwchar glob gmtime
htonl htons imaxabs imaxdiv index insque ioctl isalnum isalpha isascii isatty isblank iscntrl isdigit isgraph islower
isprint ispunct isspace isupper iswalnum iswalpha iswblank iswcntrl iswctype iswdigit iswgraph iswlower iswprint
iswpunct iswspace iswupper iswxdigit isxdigit j0 j1 jn kill killpg labs ldiv link listen llabs lldiv localeconv
localtime lockf longjmp lrand48 lseek malloc mblen mbrlen mbrtowc mbsinit mbsrtowcs mbstowcs mbtowc memchr memcmp
memcpy memmove memset mkdir mkdtemp mkfifo mknod mkstemp mktemp mktime mmap mprotect mrand48 munmap nanosleep nice
nrand48 ntohl ntohs open opendir optarg optind pause perror pipe poll popen pread printf putc putchar putenv puts
putwc putwchar pwrite qsort raise rand random read readdir readlink realloc recv regcomp regexec remove remque rename
rewind rindex rmdir sbrk scanf select send setbuf setenv setlocale setvbuf shutdown sigaction signal significand sleep
snprintf socket splice sprintf srand srand48 srandom sscanf stat step stime stpcpy strcasecmp strcat strchr strcmp
strcoll strcpy strcspn strdup strerror strftime strlcpy strlen strncat strncmp strncpy strndup strnlen strpbrk strrchr
strsep strsignal strspn strstr strtod strtof strtoimax strtok strtok_r strtol strtold strtoll strtoul strtoull
strtoumax strxfrm swab swprintf swscanf symlink sync syscall sysconf system tee tempnam time times tmpfile tmpnam
toascii tolower toupper towctrans towlower towupper truncate ttyname umask uname ungetc ungetwc unlink unsetenv usleep
utime vfork vfprintf vfscanf vfwprintf vfwscanf vprintf vscanf vsnprintf vsprintf vsscanf vswprintf vswscanf vwprintf
vwscanf wait waitpid wcrtomb wcscat wcschr wcscmp wcscoll wcscpy wcscspn wcsftime wcslen wcsncat wcsncmp wcsncpy
wcspbrk wcsrchr wcsrtombs wcsspn wcsstr wcstod wcstof wcstoimax wcstok wcstol wcstold wcstoll wcstombs wcstoul
wcstoull wcstoumax wcsxfrm wctob wctomb wctrans wctype wmemchr wmemcmp wmemcpy wmemmove wmemset wprintf write wscanf
y0 y1 yn
"""
"""Other functions of C's library, and those of POSIX that would be called in place of it."""
TAKEN = frozenset(
    {*WORDS.split(), *LIBRARY.split(), *(f"{name}{end}" for name in REAL.split() for end in ("", "f", "l"))}
)


def c_name(where: str, name: Any, own: frozenset[str]) -> str:
    """A name that a C function may have. own: names that the file has for something else."""
    text = name if isinstance(name, str) else ""
    if identifier(text) != text:
        raise ExportError(f"{where}: name must be a name of C, such as 'net_step', not {name!r:.60}")
    if text in TAKEN or text in own:
        whose = "C or its library" if text in TAKEN else "the file"
        raise ExportError(f"{where}: {text} means something else in {whose}: name='net_{text}'")
    return text
