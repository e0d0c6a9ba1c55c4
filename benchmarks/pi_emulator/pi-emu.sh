#!/bin/sh
# pi-emu.sh DIR [SUITE]: an emulated Raspberry-Pi-class Arm Python in DIR, made once (115 MB).
# SUITE is bookworm (Python 3.11, the default) or trixie (3.13).
#
#   DIR/venv/bin/python                     looks and behaves like a venv's Python
#   uv pip install --python DIR/venv/bin/python numpy onnxruntime
#   PI_CPU=cortex-a53 DIR/venv/bin/python   which core: cortex-a53 (Pi 3, Zero 2 W),
#                                           cortex-a72 (Pi 4) or cortex-a76 (Pi 5)
#   PI_COUNT=FILE DIR/venv/bin/python       count instructions into FILE, see regions.py
#
# Needs apt-get with an updated index of a Debian mirror, Debian's archive keyring, dpkg-deb and
# cc on x86-64; no root, no binfmt_misc, no chroot; the host's apt state is left untouched.
# MIRROR=URI takes another mirror than the one apt uses.
#
# Counts of marked regions repeat within 0.03 % with one thread, `setarch -R` and a clean
# environment; times under emulation mean nothing. Not `-cpu max`: this emulator's SME gives wrong
# int8 results. Packages come by `uv pip`: pip evaluates environment markers on the host.
set -eu
D=$(mkdir -p "$1" && cd "$1" && pwd)
SUITE=${2:-bookworm}
HERE=$(cd "$(dirname "$0")" && pwd)
say() { echo "pi-emu.sh: $*" >&2; }

case $SUITE in
  bookworm) PY=3.11 ;;
  trixie) PY=3.13 ;;
  *) say "suite $SUITE is unknown: give bookworm or trixie"; exit 2 ;;
esac
MADE=$(cat "$HERE/pi-emu.sh" "$HERE/insncount.c" | cksum)" $SUITE $D"
[ "$(cat "$D/.made" 2>/dev/null || true)" != "$MADE" ] || exit 0

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
for tool in apt-get dpkg-deb cc; do
  command -v $tool >/dev/null || { say "$tool is not there: install it"; exit 2; }
done
[ "$(uname -m)" = x86_64 ] || { say "this host is no x86-64: its own kernel may run Arm"; exit 2; }
[ -e $KEYRING ] || { say "$KEYRING is not there: install debian-archive-keyring"; exit 2; }
MIRROR=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
  grep -E '/debian/?$' | sort -u | head -n 1)}
[ -n "$MIRROR" ] || { say "apt knows no Debian mirror: run 'apt-get update', or set MIRROR"; exit 2; }

rm -rf "$D/.made" "$D/qemu" "$D/arm64" "$D/venv"

unpack() { # unpack ROOT ARCH SUITE PACKAGE...: packages and all they depend on, as files
  R=$1; A=$2; S=$3; shift 3
  ST=$R.apt
  rm -rf "$ST"
  mkdir -p "$R" "$ST/state/lists/partial" "$ST/cache/archives/partial"
  mkdir -p "$ST/etc/preferences.d" "$ST/etc/apt.conf.d"
  : > "$ST/status"
  echo "deb [signed-by=$KEYRING arch=$A] $MIRROR $S main" > "$ST/etc/sources.list"
  own() {
    apt-get -qq -y -o APT::Architecture="$A" -o APT::Architectures="$A" \
      -o Dir::State="$ST/state" -o Dir::State::status="$ST/status" -o Dir::Cache="$ST/cache" \
      -o Dir::Etc="$ST/etc" -o Dir::Etc::sourcelist="$ST/etc/sources.list" \
      -o Dir::Etc::sourceparts=/dev/null -o APT::Install-Recommends=false \
      -o APT::Sandbox::User= -o Debug::NoLocking=1 "$@" >&2
  }
  own update
  own --download-only install "$@"
  for deb in "$ST"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$R"; done
  for d in bin sbin lib; do [ -e "$R/$d" ] || ln -s usr/$d "$R/$d"; done
  rm -rf "$ST"
}

# 1. qemu-user 7.2, from bookworm whatever the suite; the static build takes no plugin.
unpack "$D/qemu" amd64 bookworm qemu-user
find "$D/qemu/usr/bin" -name 'qemu-*' ! -name qemu-aarch64 -delete
LIB=$D/qemu/lib/x86_64-linux-gnu:$D/qemu/usr/lib/x86_64-linux-gnu

# 2. The Arm system: Python and what wheels link with.
unpack "$D/arm64" arm64 "$SUITE" python$PY-minimal libpython$PY-stdlib libstdc++6 libgcc-s1
rm -rf "$D/arm64/usr/share/doc" "$D/arm64/usr/share/man" "$D/arm64/usr/share/locale"

# 3. A path prefix for each board: that system and the board's own /proc/cpuinfo. qemu 7.2 would
#    show the host's, on which onnxruntime crashes; XNNPACK chooses kernels by the core named there.
board() { # board CPU PART VARIANT REVISION FEATURES
  mkdir -p "$D/$1/proc"
  for d in bin etc lib sbin usr var; do ln -sfn "../arm64/$d" "$D/$1/$d"; done
  for i in 0 1 2 3; do
    printf 'processor\t: %s\nBogoMIPS\t: 108.00\nFeatures\t: %s\nCPU implementer\t: 0x41\n' $i "$5"
    printf 'CPU architecture: 8\nCPU variant\t: %s\nCPU part\t: %s\nCPU revision\t: %s\n\n' $3 $2 $4
  done > "$D/$1/proc/cpuinfo"
}
V8='fp asimd evtstrm crc32 cpuid'
V82='fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp'
board cortex-a53 0xd03 0x0 4 "$V8"
board cortex-a72 0xd08 0x0 3 "$V8"
board cortex-a76 0xd0b 0x4 1 "$V82"

# 4. The counting plugin, and the interpreter; children started through sys.executable run in the
#    emulator too.
cc -O2 -shared -fPIC -o "$D/libinsncount.so" "$HERE/insncount.c"
mkdir -p "$D/venv/bin" "$D/venv/lib/python$PY/site-packages"
printf 'home = %s\ninclude-system-site-packages = false\nversion = %s\n' \
  "$D/arm64/usr/bin" $PY > "$D/venv/pyvenv.cfg"
cat > "$D/venv/bin/python" <<W
#!/bin/sh
exec "$D/qemu/lib64/ld-linux-x86-64.so.2" --library-path "$LIB" "$D/qemu/usr/bin/qemu-aarch64" \\
  -0 "\$0" -cpu "\${PI_CPU:-cortex-a72}" -seed 1 -L "$D/\${PI_CPU:-cortex-a72}" \\
  \${PI_COUNT:+-plugin "$D/libinsncount.so,out=\$PI_COUNT"} "$D/arm64/usr/bin/python$PY" "\$@"
W
chmod +x "$D/venv/bin/python"
ln -sf python "$D/venv/bin/python3"
"$D/venv/bin/python" -c 'import platform; assert platform.machine() == "aarch64"'
echo "$MADE" > "$D/.made"
