# Lambda's view of the file system, made in a mount and a process namespace of its own, around one program.
# usage: lambda_sandbox.sh ROOT TASK LANG RUNTIME EMULATOR DROP PROGRAM [ARGUMENT]...
#   ROOT: an empty folder to mount things on; TASK, LANG, RUNTIME: what becomes /var/task, /var/lang and /var/runtime
#   DROP: "root" or "user": who started us, which says how privileges are dropped
# Everything ends when standard input does, as it does when whoever started us dies: the kernel ends a process namespace with
# its first process, and that is this shell.
set -eu
root=$1 task=$2 lang=$3 runtime=$4 emulator=$5 drop=$6
shift 6

mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p dev proc tmp old var/task var/lang var/runtime
for name in bin sbin lib lib32 lib64 libx32 usr etc opt nix; do
  if [ -L "/$name" ]; then
    cp -P "/$name" "$name"
  elif [ -d "/$name" ]; then
    mkdir "$name"
    mount --rbind "/$name" "$name"
  fi
done
mount --rbind /dev dev
mount -t proc proc proc
mount -t tmpfs -o mode=1777,size=512m tmpfs tmp
for pair in "task:$task" "lang:$lang" "runtime:$runtime"; do
  mount --bind "${pair#*:}" "var/${pair%%:*}"
  mount -o remount,bind,ro "var/${pair%%:*}"
done
cp "$emulator" emulator
chmod 755 emulator
pivot_root . old
cd /var/task
umount -l /old
rmdir /old
mount -o remount,bind,ro /
unset OLDPWD

case $drop in
  root) set -- setpriv --reuid 993 --regid 990 --clear-groups --no-new-privs "$@" ;;
  user) set -- unshare --user --map-user=993 --map-group=990 setpriv --no-new-privs "$@" ;;
esac
"$@" </dev/null &
read -r _ || true
