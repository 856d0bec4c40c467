// Displays the image, and blends the heat map over it by its opacity (class HeatmapViewer). Grey values are
// looked up in the browser: a table of 65,536 entries for each change, and one pass over the image.
const PADDING = 65535;
const TOP = 65534;

export default {
  template: `
    <div class="viewer">
      <div class="stage" ref="stage" tabindex="0" role="img" :aria-label="description" :class="{ grabbed: drag }"
           :style="{ aspectRatio: columns + ' / ' + rows }"
           @wheel.prevent="wheel" @pointerdown="grab" @pointermove="move" @pointerup="release"
           @pointercancel="release" @keydown="key" @dblclick="fit">
        <div class="sheet" :style="{ transform }">
          <canvas ref="canvas" :width="columns" :height="rows"></canvas>
          <img v-if="heatUrl" class="heat" :src="prefix + heatUrl" :style="{ opacity: heat }" alt="" />
        </div>
        <div class="stage-note" v-if="heatUrl && heat > 0">Heat map: {{ heatLabel }}</div>
        <div class="stage-zoom" v-if="zoom > 1">{{ zoom.toFixed(1) }} ×</div>
      </div>
      <div class="viewer-bar" role="toolbar" aria-label="View">
        <button type="button" @click="toggleInvert" :aria-pressed="inverted" class="view-button">
          <q-icon name="invert_colors" aria-hidden="true" /> Invert</button>
        <button type="button" @click="zoomBy(1.5)" class="view-button" aria-label="Zoom in">
          <q-icon name="zoom_in" aria-hidden="true" /></button>
        <button type="button" @click="zoomBy(1 / 1.5)" class="view-button" aria-label="Zoom out">
          <q-icon name="zoom_out" aria-hidden="true" /></button>
        <button type="button" @click="fit" class="view-button"><q-icon name="fit_screen" aria-hidden="true" /> Fit</button>
        <button type="button" @click="reset" class="view-button" :disabled="own && !inverted">
          <q-icon name="restart_alt" aria-hidden="true" /> {{ windowed ? "File's window" : "As stored" }}</button>
      </div>
      <div class="viewer-sliders">
        <label v-if="heatUrl"><span>Heat map opacity <output>{{ Math.round(heat * 100) }} %</output></span>
          <input type="range" min="0" max="1" step="0.01" v-model.number="heat" name="opacity" /></label>
        <label><span>{{ windowed ? "Window center" : "Brightness" }} <output>{{ centerText }}</output></span>
          <input type="range" :min="centerRange[0]" :max="centerRange[1]" step="any" :value="centerSlider"
                 @input="slideCenter" name="center" /></label>
        <label><span>{{ windowed ? "Window width" : "Contrast" }} <output>{{ spreadText }}</output></span>
          <input type="range" min="0" max="1" step="0.005" :value="spreadSlider" @input="slideSpread" name="width" /></label>
      </div>
      <div class="viewer-keys small dim">Drag to move, Shift and drag for {{ windowed ? "the window" : "brightness and contrast" }},
        wheel to zoom. Keys on the image: + and − (zoom), arrows (move), 0 (fit), i (invert), h (heat map), r (reset).</div>
    </div>`,
  props: {
    url: String, label: String, columns: Number, rows: Number, low: Number, high: Number, center: Number,
    spread: Number, voi: String, inverse: Boolean, windowed: Boolean, opacity: Number, heatUrl: String,
    heatLabel: String,
  },
  data() {
    return {
      own: true, c: this.center, w: this.spread, inverted: false, heat: this.opacity, lastHeat: this.opacity,
      zoom: 1, x: 0, y: 0, drag: null, prefix: window.path_prefix || "",
    };
  },
  computed: {
    transform() {
      return `translate(${this.x}px, ${this.y}px) scale(${this.zoom})`;
    },
    description() {
      const heat = this.heatUrl && this.heat > 0 ? `, heat map for ${this.heatLabel}` : "";
      return this.label + heat + (this.inverted ? ", inverted" : "");
    },
    range() {
      return Math.max(this.high - this.low, 1);
    },
    centerRange() {
      return [this.low - this.range / 2, this.high + this.range / 2];
    },
    // A window shows its own center. Brightness grows to the right, where the center is lower.
    centerSlider() {
      return this.windowed ? this.c : this.centerRange[0] + this.centerRange[1] - this.c;
    },
    // The smallest width, and the ratio of the largest to it; 100 % of contrast lies in the middle.
    widths() {
      return this.windowed ? [this.range / 100, 200] : [this.range / 8, 64];
    },
    // A step of the slider multiplies the width.
    spreadSlider() {
      const at = Math.log(this.w / this.widths[0]) / Math.log(this.widths[1]);
      return this.windowed ? at : 1 - at;
    },
    centerText() {
      if (this.windowed) return this.number(this.c);
      return `${Math.round(((this.center - this.c) / this.range) * 200)} %`;
    },
    spreadText() {
      return this.windowed ? this.number(this.w) : `${Math.round((this.range / this.w) * 100)} %`;
    },
  },
  watch: {
    heatUrl() {
      if (!this.heatUrl) this.heat = this.lastHeat;
    },
  },
  async mounted() {
    const answer = await fetch(this.prefix + this.url);
    if (!answer.ok) return;
    const data = await answer.arrayBuffer();
    this.pixels = { shown: new Uint8Array(data, 0, PADDING + 1), codes: new Uint16Array(data, PADDING + 1) };
    this.draw();
  },
  methods: {
    number(value) {
      return Math.abs(value) >= 100 ? Math.round(value).toString() : value.toPrecision(3);
    },
    // DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3, as covid_monai.dicom.grayscale.apply_window.
    shade(value) {
      if (this.voi === "SIGMOID") return 1 / (1 + Math.exp((-4 * (value - this.c)) / this.w));
      if (this.voi === "LINEAR_EXACT") return (value - this.c) / this.w + 0.5;
      if (this.w <= 1) return value > this.c - 0.5 ? 1 : 0;
      return (value - (this.c - 0.5)) / (this.w - 1) + 0.5;
    },
    table() {
      const grey = new Uint8Array(PADDING + 1);
      for (let code = 0; code <= TOP; code += 1) {
        let shown;
        if (this.own) shown = this.pixels.shown[code];
        else {
          shown = Math.round(255 * Math.min(1, Math.max(0, this.shade(this.low + (code * (this.high - this.low)) / TOP))));
          if (this.inverse) shown = 255 - shown;
        }
        grey[code] = this.inverted ? 255 - shown : shown;
      }
      return grey;
    },
    draw() {
      if (!this.pixels || this.scheduled) return;
      this.scheduled = true;
      requestAnimationFrame(() => {
        this.scheduled = false;
        const grey = this.table();
        const pen = this.$refs.canvas.getContext("2d");
        const picture = pen.createImageData(this.columns, this.rows);
        const words = new Uint32Array(picture.data.buffer);
        const { codes } = this.pixels;
        for (let i = 0; i < codes.length; i += 1) words[i] = 0xff000000 | (grey[codes[i]] * 0x010101);
        pen.putImageData(picture, 0, 0);
        this.$el.dataset.drawn = "yes";
      });
    },
    setWindow(c, w) {
      this.own = false;
      this.c = c;
      this.w = Math.min(Math.max(w, this.widths[0]), this.widths[0] * this.widths[1]);
      this.draw();
    },
    slideCenter(event) {
      const at = Number(event.target.value);
      this.setWindow(this.windowed ? at : this.centerRange[0] + this.centerRange[1] - at, this.w);
    },
    slideSpread(event) {
      const at = this.windowed ? Number(event.target.value) : 1 - Number(event.target.value);
      this.setWindow(this.c, this.widths[0] * this.widths[1] ** at);
    },
    toggleInvert() {
      this.inverted = !this.inverted;
      this.draw();
    },
    reset() {
      [this.own, this.inverted, this.c, this.w] = [true, false, this.center, this.spread];
      this.draw();
    },
    toggleHeat() {
      if (this.heat > 0) [this.lastHeat, this.heat] = [this.heat, 0];
      else this.heat = this.lastHeat || this.opacity;
    },
    fit() {
      [this.zoom, this.x, this.y] = [1, 0, 0];
    },
    place(zoom, x, y) {
      const { clientWidth: width, clientHeight: height } = this.$refs.stage;
      this.zoom = Math.min(Math.max(zoom, 1), 16);
      this.x = Math.min(0, Math.max(x, width * (1 - this.zoom)));
      this.y = Math.min(0, Math.max(y, height * (1 - this.zoom)));
    },
    zoomBy(factor, atX, atY) {
      const { clientWidth: width, clientHeight: height } = this.$refs.stage;
      const [px, py] = [atX ?? width / 2, atY ?? height / 2];
      const zoom = Math.min(Math.max(this.zoom * factor, 1), 16);
      this.place(zoom, px - ((px - this.x) * zoom) / this.zoom, py - ((py - this.y) * zoom) / this.zoom);
    },
    wheel(event) {
      const box = this.$refs.stage.getBoundingClientRect();
      this.zoomBy(event.deltaY < 0 ? 1.2 : 1 / 1.2, event.clientX - box.left, event.clientY - box.top);
    },
    grab(event) {
      if (event.button !== 0) return;
      this.drag = { x: event.clientX, y: event.clientY, grey: event.shiftKey };
      this.$refs.stage.setPointerCapture(event.pointerId);
    },
    move(event) {
      if (!this.drag) return;
      const [dx, dy] = [event.clientX - this.drag.x, event.clientY - this.drag.y];
      if (this.drag.grey) this.setWindow(this.c + (dy * this.range) / 500, this.w + (dx * this.range) / 500);
      else this.place(this.zoom, this.x + dx, this.y + dy);
      [this.drag.x, this.drag.y] = [event.clientX, event.clientY];
    },
    release() {
      this.drag = null;
    },
    key(event) {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const step = 40;
      const actions = {
        "+": () => this.zoomBy(1.25), "=": () => this.zoomBy(1.25), "-": () => this.zoomBy(0.8), 0: this.fit,
        i: this.toggleInvert, h: this.toggleHeat, r: this.reset,
        ArrowLeft: () => this.place(this.zoom, this.x + step, this.y),
        ArrowRight: () => this.place(this.zoom, this.x - step, this.y),
        ArrowUp: () => this.place(this.zoom, this.x, this.y + step),
        ArrowDown: () => this.place(this.zoom, this.x, this.y - step),
      };
      const action = actions[event.key];
      if (!action || (event.key.startsWith("Arrow") && this.zoom === 1)) return;
      event.preventDefault();
      action();
    },
  },
};
