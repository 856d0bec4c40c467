// Files are sent one after the other, each as the raw body of a request. A form would be unpacked onto the
// disk of the server.
export default {
  template: `
    <div class="dropzone" :class="{ over, busy: sending }" @dragover.prevent="over = true"
         @dragleave="over = false" @drop.prevent="drop">
      <label>
        <input ref="input" type="file" :accept="accept" :multiple="multiple" :disabled="sending > 0"
               @change="pick" class="dropzone-input" />
        <q-icon name="upload_file" size="2rem" aria-hidden="true" />
        <span class="dropzone-title">{{ sending ? progress : title }}</span>
        <span class="dropzone-hint">{{ hint }}</span>
      </label>
    </div>`,
  props: { url: String, title: String, hint: String, accept: String, multiple: Boolean, maxBytes: Number },
  data: () => ({ over: false, sending: 0, sent: 0 }),
  computed: {
    progress() {
      return `Sending ${Math.min(this.sent + 1, this.sending)} of ${this.sending} …`;
    },
  },
  methods: {
    drop(event) {
      this.over = false;
      this.send([...event.dataTransfer.files]);
    },
    pick(event) {
      this.send([...event.target.files]);
      event.target.value = "";
    },
    async send(files) {
      if (this.sending || !files.length) return;
      if (!this.multiple) files = files.slice(0, 1);
      [this.sending, this.sent] = [files.length, 0];
      for (const file of files) {
        const first = file === files[0];
        const problem = file.size > this.maxBytes ? `The file is larger than ${this.maxBytes / 1048576} MiB, the limit for one file.` : await this.post(file, first);
        if (problem) this.$emit("rejected", { name: file.name, problem });
        this.sent += 1;
      }
      this.sending = 0;
      this.$emit("done", { count: files.length });
    },
    async post(file, first) {
      try {
        const answer = await fetch((window.path_prefix || "") + this.url, {
          method: "POST",
          headers: {
            "Content-Type": "application/octet-stream",
            "X-File-Name": encodeURIComponent(file.name),
            "X-First-File": first ? "yes" : "no",
          },
          body: file,
        });
        if (answer.status === 429) {
          await new Promise((resolve) => setTimeout(resolve, 1000 * answer.headers.get("Retry-After")));
          return await this.post(file, first);
        }
        return answer.ok ? "" : (await answer.json()).detail || answer.statusText;
      } catch {
        return "The file could not be read, or the connection was lost. Try again.";
      }
    },
  },
};
